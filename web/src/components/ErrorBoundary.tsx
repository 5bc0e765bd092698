import { Component, type ReactNode } from "react";
import { ErrorPanel } from "./ErrorPanel";

interface Props {
  children: ReactNode;
  /** What is shown, as an address: another one is tried anew. */
  at?: string;
}

/** A page that fails is said to have failed; the others still work. */
export class ErrorBoundary extends Component<Props, { error: unknown }> {
  state = { error: undefined as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  componentDidUpdate(before: Props) {
    if (before.at !== this.props.at && this.state.error !== undefined) this.setState({ error: undefined });
  }

  render() {
    if (this.state.error !== undefined) return <ErrorPanel error={this.state.error} retry={() => window.location.reload()} />;
    return this.props.children;
  }
}
