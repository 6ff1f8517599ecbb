// How people read figures: as `geosearch.words` says them.

const digits = (value: number, most: number): string =>
  value.toLocaleString("en-GB", { minimumFractionDigits: most, maximumFractionDigits: most });

/** A distance with about three digits: `850 m`, `12.3 km`, `1,240 km`. */
export function distance(km: number): string {
  if (km < 1) return `${digits(1000 * km, 0 < km && km < 0.01 ? 1 : 0)} m`;
  return `${digits(km, km < 100 ? 1 : 0)} km`;
}

/** A distance that somebody chose, as it is: `25 m`, `1 km`, `2,500 km`. */
export function threshold(km: number): string {
  return km < 1 ? `${1000 * km} m` : `${km.toLocaleString("en-GB")} km`;
}

export function area(km2: number): string {
  if (km2 < 1) return `${digits(1e6 * km2, 0)} m²`;
  return `${digits(km2, km2 < 100 ? 1 : 0)} km²`;
}

export function position(lat: number, lon: number): string {
  const [north, east] = [lat >= 0 ? "N" : "S", lon >= 0 ? "E" : "W"];
  return `${Math.abs(lat).toFixed(4)}° ${north}, ${Math.abs(lon).toFixed(4)}° ${east}`;
}

export function percent(share: number): string {
  const value = 100 * share;
  return value > 0 && value < 1 ? "< 1 %" : `${Math.round(value)} %`;
}

export function bytes(size: number): string {
  return size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${digits(size / 1e6, 1)} MB`;
}
