// All that the page asks of the server: docs/web.md, /api/v1/docs.

const ROOT = "/api/v1";

export interface Status {
  state: "warming" | "ready" | "failed";
  message: string | null;
  version: string;
  /** Whether one has to log in. */
  login: boolean;
  models: string[];
  max_upload_bytes: number;
  basemap_style: string | null;
}

export interface Session {
  role: string;
  /** Whether its answers are kept. */
  may_record: boolean;
  csrf_token: string | null;
}

export interface Neighbour {
  rank: number;
  photo_id: number;
  uri: string;
  lat: number;
  lon: number;
  distance: number;
  weight: number;
}

export interface Photo {
  id: number;
  collection: string;
  uri: string;
  lat: number | null;
  lon: number | null;
  position_source: string | null;
  taken_at: string | null;
  author: string | null;
  licence: string | null;
  title: string | null;
}

export interface Mode {
  lat: number;
  lon: number;
  mass: number;
}

/** The density itself: kernels on the sphere, and which share of it lies above a log density. */
export interface Kernels {
  kernels: [lat: number, lon: number, logPeak: number, kappa: number][];
  levels: [level: number, logDensity: number][];
}

/** A filter as the server reads it: conditions by name, all of which must hold. */
export type Filter = Record<string, unknown>;

/** What an answer is asked by; nothing is left out where nothing is said. */
export interface Asked {
  filter?: Filter;
  exclude_photos?: number[];
  exclude_authors?: string[];
}

export interface Answer {
  localization_id: number | null;
  photo: string;
  estimate: { lat: number; lon: number } | null;
  place: string | null;
  method: string;
  agreement: number | null;
  calibration: number | null;
  calibration_fits: "yes" | "widened" | "no" | null;
  confident: boolean | null;
  low_information: string | null;
  presence: number | null;
  probability_within_km: Record<string, number> | null;
  radius_km: Record<string, number>;
  modes: Mode[];
  neighbours: Neighbour[];
  plan: Record<string, unknown>;
  model: string;
  parameters: Record<string, unknown>;
  filter: Filter;
  elapsed_ms: Record<string, number>;
  created_at: string | null;
  regions?: GeoJSON.FeatureCollection<GeoJSON.MultiPolygon, { level: number; area_km2: number }>;
  kernels?: Kernels;
  photos?: Photo[];
  embedding?: number[];
  /** A small picture of what was fetched, as a data URL. */
  picture?: string | null;
}

export interface Reproduced {
  same: boolean;
  neighbours_same: boolean;
  shift_km: number | null;
  changes: string[];
}

export type Decision = "accept" | "move" | "reject" | "unsure";

export interface ReviewOf {
  decision: Decision;
}

/** A recorded answer in a list, with what was decided on it last. */
export interface Listed {
  id: number;
  photo: string;
  created_at: string;
  lat: number | null;
  lon: number | null;
  place: string | null;
  agreement: number | null;
  error_km: number | null;
  decision: Decision | null;
}

export interface Collection {
  name: string;
  photos: number;
}

/** What filters can choose from: photos by name. */
export interface Choices {
  photos: number;
  taken: [first: string, last: string] | null;
  /** Photos in equal parts of that time. */
  taken_counts: number[];
  bbox: [west: number, south: number, east: number, north: number] | null;
  authors: Record<string, number>;
  licences: Record<string, number>;
}

/** Photos that pass a filter; of each condition, alone and without it. */
export interface Checked {
  photos: number;
  of: number;
  conditions: { text: string; alone: number; without: number }[];
}

const SHOWN = ["regions", "kernels", "photos"];

/** What the server said no with: problem details (RFC 9457), or that it did not say anything. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly remedy: string | null = null,
    readonly reason: string | null = null,
  ) {
    super(detail);
  }

  /** The server is not there, rather than of another opinion. */
  get gone(): boolean {
    return this.status === 0;
  }
}

let csrfToken: string | null = null;
let mayRecord = true;

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = new Headers(init.headers);
  if (csrfToken !== null) headers.set("X-CSRF-Token", csrfToken);
  let reply: Response;
  try {
    reply = await fetch(ROOT + path, { ...init, headers, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, String(error));
  }
  const said: unknown = await reply.json().catch(() => null);
  if (reply.ok) return said as T;
  const problem = (said ?? {}) as { detail?: string; remedy?: string; reason?: string };
  throw new Refusal(
    reply.status,
    problem.detail ?? reply.statusText,
    problem.remedy ?? null,
    problem.reason ?? null,
  );
}

function send<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return ask<T>(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

export const status = (): Promise<Status> => ask("/status");

export async function session(): Promise<Session> {
  return entered(await ask<Session>("/session"));
}

export async function logIn(role: string, password: string): Promise<Session> {
  return entered(await send<Session>("/session", { role, password }));
}

export const logOut = (): Promise<unknown> => ask("/session", { method: "DELETE" });

function entered(found: Session): Session {
  csrfToken = found.csrf_token;
  mayRecord = found.may_record;
  return found;
}

/** What a new photo is asked by; `keep` a small picture of it with the answer. */
function anew(asked: Asked, keep: boolean, include: string[] = []): object {
  const shown = [...SHOWN, ...include, ...(mayRecord ? [] : ["embedding"])]; // to ask again by
  return { ...asked, keep_picture: keep, include: shown };
}

/** An uploaded photo's answer. The bytes go as they are: made smaller, they would embed otherwise. */
export function localize(photo: File, asked: Asked, keep: boolean): Promise<Answer> {
  const form = new FormData();
  form.append("photo", photo);
  form.append("request", JSON.stringify(anew(asked, keep)));
  return ask("/localize", { method: "POST", body: form });
}

/** The answer of a photo on the Internet, which the server fetches. */
export const localizeUrl = (url: string, asked: Asked, keep: boolean): Promise<Answer> =>
  send("/localize/url", { ...anew(asked, keep, ["picture"]), url });

/** Where a photo of the collections would be placed without itself. */
export const localizeStored = (photo: number, asked: Asked): Promise<Answer> =>
  send("/localize/stored", {
    ...anew(asked, false),
    photo_id: photo,
    exclude_self: true,
    record: mayRecord,
  });

const shown = new URLSearchParams(SHOWN.map((name) => ["include", name])).toString();

export const readAnswer = (id: number): Promise<Answer> => ask(`/answers/${id}?${shown}`);

/** The photo of an answer asked once more, in another way: nothing is uploaded. */
export function again(answer: Answer, asked: Asked, signal: AbortSignal): Promise<Answer> {
  const { localization_id: id, embedding, photo, low_information } = answer;
  const body = { ...asked, include: SHOWN };
  if (id !== null) return send(`/answers/${id}/again`, body, signal);
  return send("/localize/embedding", { ...body, embedding, photo, low_information }, signal);
}

/** The photo of an answer, small: where it was kept, or is one of the collections. */
export const pictureOf = (answer: number): string => `${ROOT}/answers/${answer}/picture`;

export const reproduce = (id: number): Promise<Reproduced> => send(`/answers/${id}/reproduce`, {});

/** The latest answers, those of a lower id than `before`. */
export function answers(before: number | null): Promise<{ answers: Listed[]; next: number | null }> {
  return ask(`/answers?limit=200${before === null ? "" : `&before=${before}`}`);
}

export const decide = (
  id: number,
  decision: Decision,
  to: { lat: number; lon: number } | null,
): Promise<ReviewOf> =>
  send(`/answers/${id}/reviews`, { decision, to: to === null ? null : [to.lat, to.lon] });

export const undoReview = (id: number): Promise<unknown> =>
  ask(`/answers/${id}/reviews/last`, { method: "DELETE" });

/** What was decided on an answer, oldest first. */
export const reviews = (id: number): Promise<ReviewOf[]> => ask(`/answers/${id}/reviews`);

export const exported = (id: number, name: string): string => `${ROOT}/answers/${id}/export/${name}`;

/** Where the photo itself says that it was taken; no answer rests on it. */
export async function ownPosition(photo: File): Promise<{ lat: number; lon: number } | null> {
  const form = new FormData();
  form.append("photo", photo);
  const said = await ask<{ position: { lat: number; lon: number } | null }>("/position", {
    method: "POST",
    body: form,
  });
  return said.position;
}

export const thumbnail = (photo: number, size: 256 | 1024): string =>
  `${ROOT}/photos/${photo}/thumbnail?size=${size}`;

export const readPhoto = (photo: number): Promise<Photo> => ask(`/photos/${photo}`);

/** Photos near a place, the nearest first. */
export async function photosNear(
  lat: number,
  lon: number,
  km: number,
  limit = 20,
): Promise<(Photo & { distance_km: number })[]> {
  const query = new URLSearchParams(Object.entries({ lat, lon, km, limit }).map(([k, v]) => [k, String(v)]));
  return (await ask<{ photos: (Photo & { distance_km: number })[] }>(`/photos/near?${query}`)).photos;
}

/** The photos most like one of the collections, nearest first. */
export async function photosLike(photo: number): Promise<Neighbour[]> {
  return (await ask<{ neighbours: Neighbour[] }>(`/photos/${photo}/like`)).neighbours;
}

/** Some photos of the collections, from here and there. */
export async function samples(count: number): Promise<Photo[]> {
  const { photos } = await ask<{ photos: Photo[] }>("/photos?limit=120");
  const placed = photos.filter(({ lat }) => lat !== null);
  return placed.filter((_, i) => i % Math.max(1, Math.floor(placed.length / count)) === 0).slice(0, count);
}

export const collections = (): Promise<Collection[]> => ask("/collections");

export const choices = (): Promise<Choices> => ask("/choices");

export async function countries(): Promise<string[]> {
  return (await ask<{ name: string }[]>("/countries")).map(({ name }) => name);
}

export type Outline = GeoJSON.Polygon | GeoJSON.MultiPolygon;
const outlines = new Map<string, Outline>();

/** The outline of a country, which is asked for once: a filter is drawn anew at each change. */
export async function outline(country: string): Promise<Outline> {
  const known = outlines.get(country);
  if (known !== undefined) return known;
  const found = await ask<{ geometry: Outline }>(`/countries/${encodeURIComponent(country)}`);
  outlines.set(country, found.geometry);
  return found.geometry;
}

export const check = (filter: Filter): Promise<Checked> => send("/filters/check", { filter });

export async function placeName(lat: number, lon: number, radiusKm = 0): Promise<string | null> {
  const query = new URLSearchParams({
    lat: String(lat),
    lon: String(lon),
    radius_km: String(radiusKm),
  });
  return (await ask<{ name: string | null }>(`/places/name?${query}`)).name;
}

export const tiles = (layer: string): string =>
  `${location.origin}${ROOT}/tiles/${layer}/{z}/{x}/{y}.mvt`;
