import type { ReactNode } from "react";
import type { EndpointDetail } from "../../api/schema";

/** What each playground is given. */
export interface PlaygroundProps {
  endpoint: EndpointDetail;
  /** The served entity that is asked; null leaves it to the traffic's percentages. */
  entity: string | null;
  /** The control that chooses it. */
  select: ReactNode;
}
