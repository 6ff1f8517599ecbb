// A place by its numbers, for who does not click.

import { el } from "./dom";
import type { LatLon } from "./sphere";
import { words } from "./strings";

/** A field that tells of a latitude and longitude, once it has both. */
export function placeField(id: string, given: (place: LatLon) => void): HTMLElement {
  const input = el("input", {
    id,
    placeholder: words.latLon,
    "aria-label": words.latLon,
    onchange: () => {
      const [lat, lon] = input.value.split(/[\s,;]+/).map(Number);
      if (Number.isFinite(lat) && Number.isFinite(lon)) given({ lat: lat!, lon: lon! });
    },
  });
  return input;
}
