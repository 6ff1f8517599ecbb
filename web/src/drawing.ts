// Areas drawn on the map. Loaded when somebody draws.

import type { Map as MapLibre } from "maplibre-gl";
import {
  TerraDraw,
  TerraDrawCircleMode,
  TerraDrawPolygonMode,
  TerraDrawRectangleMode,
  type GeoJSONStoreFeatures,
} from "terra-draw";
import { TerraDrawMapLibreGLAdapter } from "terra-draw-maplibre-gl-adapter";
import { colour } from "./basemap";
import type { Area } from "./conditions";
import { greatCircleKm } from "./sphere";

export type Shape = "rectangle" | "circle" | "polygon";

/** Let an area be drawn; null if it is ended without one, as by Escape or `signal`. */
export function drawn(map: MapLibre, shape: Shape, signal: AbortSignal): Promise<Area | null> {
  const styles = {
    fillColor: colour("series-3") as `#${string}`,
    outlineColor: colour("series-3") as `#${string}`,
    fillOpacity: 0.1,
    outlineWidth: 2,
  };
  const draw = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map }),
    modes: [
      new TerraDrawRectangleMode({ styles }),
      new TerraDrawCircleMode({ styles, projection: "globe" }),
      new TerraDrawPolygonMode({ styles }),
    ],
  });
  draw.start();
  draw.setMode(shape);
  return new Promise((resolve) => {
    const end = (area: Area | null): void => {
      draw.stop();
      removeEventListener("keydown", escape);
      resolve(area);
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key === "Escape") end(null);
    };
    addEventListener("keydown", escape);
    signal.addEventListener("abort", () => end(null));
    draw.on("finish", (id) => {
      const feature = draw.getSnapshotFeature(id);
      end(feature === undefined ? null : areaOf(feature, shape));
    });
  });
}

function areaOf(feature: GeoJSONStoreFeatures, shape: Shape): Area | null {
  if (feature.geometry.type !== "Polygon") return null;
  const polygon = feature.geometry as GeoJSON.Polygon;
  const ring = polygon.coordinates[0] as [number, number][];
  if (shape === "polygon") return { kind: "within", value: polygon };
  const lons = ring.map(([lon]) => lon);
  const lats = ring.map(([, lat]) => lat);
  if (shape === "rectangle") {
    const [west, east] = [Math.min(...lons), Math.max(...lons)];
    const box = [within180(west), Math.min(...lats), within180(east), Math.max(...lats)];
    return { kind: "bbox", value: box.map(rounded) as [number, number, number, number] };
  }
  const { lat, lon } = middle(ring.slice(1));
  const rim = { lat: ring[0]![1], lon: ring[0]![0] };
  const km = greatCircleKm({ lat, lon }, rim);
  return { kind: "near", value: [rounded(lat), rounded(lon), Number(km.toPrecision(3))] };
}

/** The middle of points on the sphere. */
function middle(points: [number, number][]): { lat: number; lon: number } {
  const rad = Math.PI / 180;
  let [x, y, z] = [0, 0, 0];
  for (const [lon, lat] of points) {
    x += Math.cos(lat * rad) * Math.cos(lon * rad);
    y += Math.cos(lat * rad) * Math.sin(lon * rad);
    z += Math.sin(lat * rad);
  }
  return { lat: Math.atan2(z, Math.hypot(x, y)) / rad, lon: Math.atan2(y, x) / rad };
}

const within180 = (lon: number): number => (lon > 180 ? lon - 360 : lon < -180 ? lon + 360 : lon);
const rounded = (degrees: number): number => Math.round(degrees * 1e5) / 1e5;
