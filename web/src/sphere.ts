// Geometry on the sphere, as `geosearch.sphere` has it: R = 6371 km.

const RADIUS_KM = 6371;
const rad = (degrees: number): number => (degrees * Math.PI) / 180;
const deg = (radians: number): number => (radians * 180) / Math.PI;

export interface LatLon {
  lat: number;
  lon: number;
}

type Vector = [number, number, number];

function unit({ lat, lon }: LatLon): Vector {
  const across = Math.cos(rad(lat));
  return [across * Math.cos(rad(lon)), across * Math.sin(rad(lon)), Math.sin(rad(lat))];
}

export function greatCircleKm(a: LatLon, b: LatLon): number {
  const [p, q] = [unit(a), unit(b)];
  const chord = Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
  return 2 * RADIUS_KM * Math.asin(Math.min(1, chord / 2));
}

/** The shortest way from a to b as [lon, lat]; longitudes run on past 180° where it crosses that. */
export function greatCircle(a: LatLon, b: LatLon): [number, number][] {
  const angle = greatCircleKm(a, b) / RADIUS_KM;
  if (angle < 1e-9) return [[a.lon, a.lat], [b.lon, b.lat]];
  const [p, q] = [unit(a), unit(b)];
  const steps = Math.max(1, Math.ceil(deg(angle)));
  let last = a.lon;
  return Array.from({ length: steps + 1 }, (_, step) => {
    const [u, v] = [Math.sin(angle * (1 - step / steps)), Math.sin((angle * step) / steps)];
    const [x, y, z] = [0, 1, 2].map((i) => u * p[i]! + v * q[i]!) as Vector;
    last = near(deg(Math.atan2(y, x)), last);
    return [last, deg(Math.atan2(z, Math.hypot(x, y)))];
  });
}

/** A longitude by whole turns as near as can be to another. */
export function near(lon: number, other: number): number {
  return lon + 360 * Math.round((other - lon) / 360);
}
