// Embeddings, as the answer has them.
import { isRecord } from "./jsonText";

/** The vectors of an answer in the order of the inputs; null where it has none. */
export function vectorsIn(document: unknown): number[][] | null {
  if (!isRecord(document) || !Array.isArray(document.data)) return null;
  const found = (document.data as unknown[]).filter(isRecord);
  const ordered = found.toSorted((one, other) => Number(one.index ?? 0) - Number(other.index ?? 0));
  const vectors = ordered.map((one) => one.embedding);
  return vectors.every((one): one is number[] => Array.isArray(one)) ? vectors : null;
}

/** 1 for the same direction, 0 for nothing in common; NaN where a vector has no length. */
export function cosine(one: number[], other: number[]): number {
  let dot = 0;
  let lengths = [0, 0] as [number, number];
  for (let at = 0; at < one.length; at++) {
    const [x, y] = [one[at] ?? 0, other[at] ?? 0];
    dot += x * y;
    lengths = [lengths[0] + x * x, lengths[1] + y * y];
  }
  return dot / Math.sqrt(lengths[0] * lengths[1]);
}
