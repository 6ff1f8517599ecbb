// The density as a picture of what the map shows: computed for each pixel, at any zoom.

import type { Kernels } from "./api";

/** Longitudes, which may go on past 180°, and latitudes. */
export interface Extent {
  west: number;
  south: number;
  east: number;
  north: number;
}

const RAD = Math.PI / 180;
const EDGE = 85.0511;
/** Logarithm of what adds nothing that is seen to the faintest density that is drawn. */
const UNSEEN = 7;

const mercator = (lat: number): number => Math.log(Math.tan(Math.PI / 4 + (clampLat(lat) * RAD) / 2));
const clampLat = (lat: number): number => Math.max(-EDGE, Math.min(EDGE, lat));

/**
 * Draw the density of kernels over an extent: `rgb` where it is highest, and the fainter the more of
 * the probability lies where it is higher. Rows are even in Web Mercator, as on the map.
 */
export function drawDensity(
  { kernels, levels }: Kernels,
  extent: Extent,
  [width, height]: [number, number],
  [red, green, blue]: [number, number, number],
): ImageData {
  const image = new ImageData(width, height);
  const faintest = levels.at(-1)?.[1];
  if (faintest === undefined) return image;
  const step = ((extent.east - extent.west) * RAD) / width;
  const [top, bottom] = [mercator(extent.north), mercator(extent.south)];
  const rows = Float64Array.from({ length: height }, (_, y) => {
    const at = top + ((y + 0.5) / height) * (bottom - top);
    return 2 * Math.atan(Math.exp(at)) - Math.PI / 2;
  });
  const sums = new Float64Array(width * height);
  const squares = new Float64Array(width);
  for (const [lat, lon, logPeak, kappa] of kernels) {
    for (let x = 0; x < width; x++) {
      squares[x] = Math.sin((extent.west * RAD + (x + 0.5) * step - lon * RAD) / 2) ** 2;
    }
    const reach = logPeak - faintest + UNSEEN; // beyond which the kernel is not felt
    if (reach <= 0) continue;
    for (let y = 0; y < height; y++) {
      const phi = rows[y]!;
      const across = Math.cos(phi) * Math.cos(lat * RAD);
      const up = Math.sin((phi - lat * RAD) / 2) ** 2;
      // A kernel narrower than a pixel is not lost between two: a pixel shows the most that is in it.
      const half = (step * Math.cos(phi)) / 2;
      const lost = kappa * half * half > 0.1 ? half : 0;
      const fallAt = (square: number): number =>
        (kappa / 2) * (lost > 0 ? Math.max(0, Math.sqrt(square) - lost) ** 2 : square);
      if (fallAt(4 * up) >= reach) continue;
      const start = y * width;
      for (let x = 0; x < width; x++) {
        const fall = fallAt(4 * (up + across * squares[x]!));
        if (fall < reach) sums[start + x]! += Math.exp(logPeak - faintest - fall);
      }
    }
  }
  const { data } = image;
  for (let i = 0; i < sums.length; i++) {
    if (sums[i]! < 1) continue;
    data[4 * i] = red;
    data[4 * i + 1] = green;
    data[4 * i + 2] = blue;
    data[4 * i + 3] = 255 * (1 - levelOf(Math.log(sums[i]!) + faintest, levels));
  }
  return image;
}

/** The share of the probability that lies where the density is higher; levels rise, densities fall. */
function levelOf(logDensity: number, levels: Kernels["levels"]): number {
  let last = levels[0]!;
  if (logDensity >= last[1]) return last[0];
  for (const each of levels) {
    if (each[1] <= logDensity) {
      const between = last[1] - each[1];
      const share = between > 0 ? (last[1] - logDensity) / between : 1;
      return last[0] + share * (each[0] - last[0]);
    }
    last = each;
  }
  return 1;
}
