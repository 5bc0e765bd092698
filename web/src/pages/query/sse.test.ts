import { describe, expect, it } from "vitest";
import { DONE, EventReader, eventsOf } from "./sse";

const data = (events: { data: string }[]) => events.map((event) => event.data);

describe("EventReader", () => {
  it("gives events whole, whatever the pieces are", () => {
    const text = 'data: {"a": 1}\n\nevent: error\ndata: two\ndata: lines\n\n: a comment\n\ndata: [DONE]\n\n';
    for (const size of [1, 2, 3, 7, text.length]) {
      const reader = new EventReader();
      const found = [];
      for (let at = 0; at < text.length; at += size) found.push(...reader.push(text.slice(at, at + size)));
      found.push(...reader.end());
      expect(found).toEqual([
        { name: "message", data: '{"a": 1}' },
        { name: "error", data: "two\nlines" },
        { name: "message", data: DONE },
      ]);
    }
  });

  it("takes each end of a line, also one that is cut in two", () => {
    expect(data(new EventReader().push("data: a\r\n\r\ndata: b\n\n"))).toEqual(["a", "b"]);
    const reader = new EventReader();
    expect(data(reader.push("data: a\r"))).toEqual([]);
    expect(data(reader.push("\n\r"))).toEqual([]);
    expect(data(reader.push("\ndata: b\r\n\r\n"))).toEqual(["a", "b"]);
  });

  it("takes away one space after the colon and no more", () => {
    expect(data(new EventReader().push("data:  x\n\ndata:y\n\n"))).toEqual([" x", "y"]);
  });

  it("gives at the end what has no empty line after it", () => {
    const reader = new EventReader();
    expect(reader.push('data: {"error_code": "X"}')).toEqual([]);
    expect(data(reader.end())).toEqual(['{"error_code": "X"}']);
    expect(reader.end()).toEqual([]);
  });
});

describe("eventsOf", () => {
  it("decodes characters that are cut between pieces", async () => {
    const bytes = new TextEncoder().encode("data: 港の船 ⚓\n\n");
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
    const found = [];
    for await (const event of eventsOf(body)) found.push(event.data);
    expect(found).toEqual(["港の船 ⚓"]);
  });

  it("cancels the body when its reader stops early", async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\ndata: b\n\n")),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const event of eventsOf(body)) {
      expect(event.data).toBe("a");
      break;
    }
    expect(cancelled).toBe(true);
  });
});
