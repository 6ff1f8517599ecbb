// What the page knows of filters: one value for each condition that it has a field for.

import type { Answer, Asked, Filter } from "./api";

export type Box = [west: number, south: number, east: number, north: number];

export type Area =
  | { kind: "bbox"; value: Box }
  | { kind: "near"; value: [lat: number, lon: number, km: number] }
  | { kind: "within"; value: GeoJSON.Polygon | GeoJSON.MultiPolygon };

export interface Conditions {
  area: Area | null;
  country: string | null;
  after: string | null;
  before: string | null;
  collections: string | null;
  authors: string | null;
  licences: string | null;
  withoutPhotos: number[];
  withoutAuthors: string[];
  /** Conditions that an answer was asked by and the page has no field for. */
  others: Filter[];
}

const NAMES = ["country", "after", "before", "collections", "authors", "licences"] as const;

export const none = (): Conditions => ({
  area: null,
  country: null,
  after: null,
  before: null,
  collections: null,
  authors: null,
  licences: null,
  withoutPhotos: [],
  withoutAuthors: [],
  others: [],
});

export const isNone = (of: Conditions): boolean => JSON.stringify(of) === JSON.stringify(none());

/** As the server is asked. */
export function asked(by: Conditions): Asked {
  const parts: Filter[] = [...by.others];
  if (by.area !== null) parts.push({ [by.area.kind]: by.area.value });
  for (const name of NAMES) {
    if (by[name] !== null) parts.push({ [name]: by[name] });
  }
  return {
    ...(parts.length > 0 && { filter: parts.length === 1 ? parts[0]! : { and: parts } }),
    ...(by.withoutPhotos.length > 0 && { exclude_photos: by.withoutPhotos }),
    ...(by.withoutAuthors.length > 0 && { exclude_authors: by.withoutAuthors }),
  };
}

/** What was asked, read back from an address or from a recorded answer. */
export function conditions(of: Asked | Answer): Conditions {
  const found = none();
  for (const part of parts(of.filter ?? {})) take(found, part);
  if ("exclude_photos" in of) found.withoutPhotos = numbers(of.exclude_photos);
  if ("exclude_authors" in of) found.withoutAuthors = texts(of.exclude_authors);
  return found;
}

function parts(filter: Filter): Filter[] {
  const each = Object.entries(filter).map(([name, value]) => ({ [name]: value }));
  return each.flatMap((one) => (Array.isArray(one.and) ? one.and.flatMap((part: Filter) => parts(part)) : [one]));
}

function take(found: Conditions, part: Filter): void {
  const [name, value] = Object.entries(part)[0] ?? ["", null];
  const known = NAMES.find((each) => each === name || each === `${name}s`);
  const single = texts(Array.isArray(value) ? value : [value]);
  if (known !== undefined && found[known] === null && single.length === 1) {
    found[known] = single[0]!;
  } else if (name === "bbox" && numbers(value).length === 4 && found.area === null) {
    found.area = { kind: "bbox", value: value as Box };
  } else if (name === "near" && numbers(value).length === 3 && found.area === null) {
    found.area = { kind: "near", value: value as [number, number, number] };
  } else if (name === "within" && isArea(value) && found.area === null) {
    found.area = { kind: "within", value };
  } else if (!takeNot(found, name, value)) {
    found.others.push(part);
  }
}

function takeNot(found: Conditions, name: string, value: unknown): boolean {
  if (name === "exclude_authors" || name === "exclude_author") {
    found.withoutAuthors.push(...texts(Array.isArray(value) ? value : [value]));
    return true;
  }
  if (name !== "not" || value === null || typeof value !== "object") return false;
  const inner = Object.entries(value);
  const [of, list] = inner[0] ?? ["", []];
  if (inner.length !== 1) return false;
  if (of === "photos") found.withoutPhotos.push(...numbers(list));
  else if (of === "authors") found.withoutAuthors.push(...texts(list));
  else return false;
  return true;
}

function isArea(value: unknown): value is GeoJSON.Polygon | GeoJSON.MultiPolygon {
  const type = (value as { type?: unknown } | null)?.type;
  return type === "Polygon" || type === "MultiPolygon";
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const numbers = (value: unknown): number[] =>
  list(value).filter((each): each is number => typeof each === "number" && Number.isFinite(each));
const texts = (value: unknown): string[] =>
  list(value).filter((each): each is string => typeof each === "string");
