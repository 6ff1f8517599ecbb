// What is shown, as an address: /a/17?f={…}#6.2/34.7/10.8. Whoever opens it sees the same.

import type { Asked } from "./api";

export interface View {
  zoom: number;
  lat: number;
  lon: number;
}

export type Shown =
  | { what: "start" }
  | { what: "answer"; id: number; asked: Asked | null }
  | { what: "explore"; photo: number | null }
  | { what: "review" };

export function read(url: URL = new URL(location.href)): { shown: Shown; view: View | null } {
  return { shown: shownAt(url), view: viewAt(url.hash) };
}

function shownAt(url: URL): Shown {
  const answer = /^\/a\/(\d+)$/.exec(url.pathname);
  if (answer) return { what: "answer", id: Number(answer[1]), asked: askedIn(url.searchParams.get("f")) };
  if (url.pathname === "/explore") {
    const photo = url.searchParams.get("photo");
    return { what: "explore", photo: photo === null ? null : Number(photo) || null };
  }
  return { what: url.pathname === "/review" ? "review" : "start" };
}

function askedIn(text: string | null): Asked | null {
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" ? (value as Asked) : null;
  } catch {
    return null; // a link that was cut off shows the answer as it was recorded
  }
}

function viewAt(hash: string): View | null {
  const parts = hash.slice(1).split("/").map(Number);
  const [zoom, lat, lon] = parts;
  if (parts.length !== 3 || !parts.every(Number.isFinite)) return null;
  if (zoom! < 0 || zoom! > 24 || Math.abs(lat!) > 90) return null;
  return { zoom: zoom!, lat: lat!, lon: lon! };
}

export function pathOf(shown: Shown): string {
  switch (shown.what) {
    case "start":
      return "/";
    case "review":
      return "/review";
    case "answer": {
      const filter = shown.asked === null ? "" : `?f=${encodeURIComponent(JSON.stringify(shown.asked))}`;
      return `/a/${shown.id}${filter}`;
    }
    case "explore":
      return shown.photo === null ? "/explore" : `/explore?photo=${shown.photo}`;
  }
}

/** Go on to another thing: the browser's "back" returns from it. */
export function go(shown: Shown): void {
  const path = pathOf(shown);
  if (path !== location.pathname + location.search) history.pushState(null, "", path);
}

/** Note where the map is, without a step for "back". */
export function noteView({ zoom, lat, lon }: View): void {
  const hash = `#${zoom.toFixed(1)}/${lat.toFixed(3)}/${lon.toFixed(3)}`;
  history.replaceState(null, "", location.pathname + location.search + hash);
}
