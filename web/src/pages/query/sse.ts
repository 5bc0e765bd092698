// Server-sent events, read from text that comes in pieces of any size.

export interface StreamEvent {
  /** The event's name; "message" where it has none. */
  name: string;
  data: string;
}

/** What ends a stream of chunks in OpenAI's form. */
export const DONE = "[DONE]";

/** Gives the events that are complete with each further piece of the stream. */
export class EventReader {
  private rest = "";
  private name = "";
  private data: string[] = [];

  push(piece: string): StreamEvent[] {
    const text = this.rest + piece;
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    // A carriage return at the very end may be the first half of a line's end, so it stays with the rest.
    this.rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.line(line));
  }

  /** The event that the stream ended in, where its last line or the empty line after it is missing. */
  end(): StreamEvent[] {
    const last = this.rest.replace(/\r$/, "");
    this.rest = "";
    return [...(last ? this.line(last) : []), ...this.line("")];
  }

  private line(line: string): StreamEvent[] {
    if (line === "") {
      const event = this.data.length > 0 ? [{ name: this.name || "message", data: this.data.join("\n") }] : [];
      this.name = "";
      this.data = [];
      return event;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = value;
    if (field === "data") this.data.push(value);
    return [];
  }
}

/** The events of a body as they come. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* events.push(decoder.decode(value, { stream: true }));
    }
    yield* events.push(decoder.decode());
    yield* events.end();
  } finally {
    // Whoever stops reading lets the server stop too.
    await reader.cancel().catch(() => undefined);
  }
}
