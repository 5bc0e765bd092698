import { useSearchParams } from "react-router";
import { type ListQuery, PAGE_SIZE } from "./scim";

/** The part of a list that the page's address asks for: `q` in one of these attributes, in the order of `sort`, on `page`. */
export function useServerRows(attributes: string[], defaultSort: string): ListQuery & { searching: boolean } {
  const [params] = useSearchParams();
  const wanted = (params.get("q") ?? "").trim();
  const sort = params.get("sort") ?? defaultSort;
  const page = Math.max(1, Number(params.get("page")) || 1);
  return {
    searching: wanted !== "",
    filter: wanted ? attributes.map((name) => `${name} co ${JSON.stringify(wanted)}`).join(" or ") : undefined,
    sortBy: sort.replace(/^-/, ""),
    sortOrder: sort.startsWith("-") ? "descending" : "ascending",
    startIndex: (page - 1) * PAGE_SIZE + 1,
    count: PAGE_SIZE,
  };
}
