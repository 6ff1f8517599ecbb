// The map under everything, made of what comes with the page: no tile server, no font host.

import type { LayerSpecification, SourceSpecification, StyleSpecification } from "maplibre-gl";
import polylabel from "polylabel";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import { near } from "./sphere";
import type { Feature, FeatureCollection, MultiPolygon, Polygon, Position } from "geojson";

type Atlas = Topology<{ countries: GeometryCollection<{ name: string }> }>;
type Town = [name: string, lon: number, lat: number, population: number];

/** A colour of the stylesheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const isDark = (): boolean => document.documentElement.dataset.theme === "dark";

/** The Earth's picture gives way to plain land and sea at these zooms. */
const PICTURE_ENDS = [4, 5.5] as const;
const EDGE = 85.0511287798066; // of Web Mercator

/** Without a host of fonts, text is drawn in this family of the reader's machine. */
export const FONT = ["sans-serif"];

const empty: SourceSpecification = { type: "geojson", data: { type: "FeatureCollection", features: [] } };

/** The style in the colours of the theme; what it shows comes by `loadGround`. */
export function offlineStyle(): StyleSpecification {
  return {
    version: 8,
    sources: {
      world: {
        type: "image",
        url: new URL("/data/world.jpg", location.href).href,
        coordinates: [[-180, EDGE], [180, EDGE], [180, -EDGE], [-180, -EDGE]],
      },
      land: { ...empty, tolerance: 0.2 } as SourceSpecification,
      borders: { ...empty, attribution: "Borders: Natural Earth" } as SourceSpecification,
      countries: empty,
      towns: {
        ...empty,
        attribution: "place names: GeoNames, CC BY 4.0; image: NASA Blue Marble",
      } as SourceSpecification,
    },
    layers: groundLayers(),
  };
}

export function groundLayers(): LayerSpecification[] {
  const [from, to] = PICTURE_ENDS;
  const name = {
    "text-color": colour("map-text"),
    "text-halo-color": colour("map-halo"),
    "text-halo-width": 1.4,
  };
  const fade = (low: number, high: number): LayerSpecification["paint"] =>
    ({ "raster-opacity": ["interpolate", ["linear"], ["zoom"], from, low, to, high] }) as never;
  return [
    { id: "sea", type: "background", paint: { "background-color": colour("map-sea") } },
    {
      id: "land",
      type: "fill",
      source: "land",
      paint: { "fill-color": isDark() ? colour("panel") : colour("map-land") },
    },
    {
      id: "world",
      type: "raster",
      source: "world",
      maxzoom: to,
      layout: { visibility: isDark() ? "visible" : "none" },
      paint: {
        // As on the pictures of answers: grey and dark, so that the answer is what shines.
        ...fade(1, 0),
        "raster-fade-duration": 0,
        "raster-saturation": -0.35,
        "raster-brightness-max": 0.68,
        "raster-brightness-min": 0.05,
      },
    } as LayerSpecification,
    {
      id: "borders",
      type: "line",
      source: "borders",
      paint: { "line-color": colour("map-line"), "line-width": 0.8 },
    },
    {
      id: "countries",
      type: "symbol",
      source: "countries",
      minzoom: 1.5,
      maxzoom: 7,
      filter: [">=", ["get", "size"], ["step", ["zoom"], 100, 2.5, 20, 3.5, 4, 4.5, 0.5, 5.5, 0]],
      layout: {
        "text-field": ["get", "name"],
        "text-font": FONT,
        "text-size": 12,
        "text-max-width": 7,
        "text-letter-spacing": 0.05,
        "symbol-sort-key": ["-", ["get", "size"]],
      },
      paint: { ...name, "text-color": colour("map-muted") },
    },
    {
      id: "towns",
      type: "symbol",
      source: "towns",
      minzoom: 3,
      filter: [
        ">=",
        ["get", "people"],
        ["step", ["zoom"], 4e6, 4, 1e6, 5, 3e5, 6, 1e5, 7, 4e4, 8, 0],
      ],
      layout: {
        "text-field": ["get", "name"],
        "text-font": FONT,
        "text-size": ["interpolate", ["linear"], ["zoom"], 3, 10.5, 10, 13],
        "symbol-sort-key": ["-", ["get", "people"]],
      },
      paint: name,
    },
  ];
}

/** What `offlineStyle` shows, by source: land, borders and the names of countries; then towns. */
export async function* ground(): AsyncGenerator<[source: string, data: GeoJSON.GeoJSON]> {
  const atlas = await read<Atlas>("/data/countries.json");
  const countries = feature(atlas, atlas.objects.countries) as FeatureCollection<
    Polygon | MultiPolygon,
    { name: string }
  >;
  for (const { geometry } of countries.features) {
    for (const rings of geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates) {
      for (const ring of rings) unroll(ring);
    }
  }
  yield ["land", countries];
  yield ["borders", mesh(atlas, atlas.objects.countries, (a, b) => a !== b)];
  yield ["countries", collection(countries.features.map(labelled))];
  const towns = await read<Town[]>("/data/towns.json");
  yield [
    "towns",
    collection(towns.map(([name, lon, lat, people]) => point([lon, lat], { name, people }))),
  ];
}

/** Have a ring go on past 180°, where the atlas jumps back; one round a pole, to that pole. */
function unroll(ring: Position[]): void {
  for (let i = 1; i < ring.length; i++) ring[i]![0] = near(ring[i]![0]!, ring[i - 1]![0]!);
  const [first, last] = [ring[0]!, ring.at(-1)!];
  if (Math.abs(last[0]! - first[0]!) > 180) {
    const pole = last[1]! < 0 ? -90 : 90;
    ring.push([last[0]!, pole], [first[0]!, pole], [...first]);
  }
}

async function read<T>(path: string): Promise<T> {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return (await reply.json()) as T;
}

/** A country's name where it has most room: in the middle of its largest piece. */
function labelled(country: Feature<Polygon | MultiPolygon, { name: string }>): Feature {
  const { geometry } = country;
  const pieces = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  const sizes = pieces.map((rings) => size(rings[0] ?? []));
  const largest = pieces[sizes.indexOf(Math.max(...sizes))] ?? [];
  const [lon, lat] = polylabel(largest as [number, number][][], 0.5);
  return point([lon ?? 0, lat ?? 0], { name: country.properties.name, size: Math.max(...sizes) });
}

function size(ring: Position[]): number {
  const xs = ring.map((at) => at[0]!);
  const ys = ring.map((at) => at[1]!);
  return (Math.max(...xs) - Math.min(...xs)) * (Math.max(...ys) - Math.min(...ys));
}

export function point(coordinates: Position, properties: Record<string, unknown>): Feature {
  return { type: "Feature", geometry: { type: "Point", coordinates }, properties };
}

export function collection(features: Feature[]): FeatureCollection {
  return { type: "FeatureCollection", features };
}
