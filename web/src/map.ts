// The map: an answer and what it rests on, or the photos there are, over the ground.

import {
  AttributionControl,
  Map as MapLibre,
  NavigationControl,
  ScaleControl,
  setWorkerUrl,
  type CanvasSource,
  type FilterSpecification,
  type GeoJSONSource,
  type LayerSpecification,
  type LngLat,
  type LngLatBoundsLike,
  type MapMouseEvent,
  type StyleSpecification,
} from "maplibre-gl";
import type { Feature } from "geojson";
import type { View } from "./address";
import { tiles, type Answer, type Neighbour, type Outline } from "./api";
import { drawDensity, type Extent } from "./density_image";
import { collection, colour, FONT, ground, groundLayers, offlineStyle, point } from "./basemap";
import type { Area } from "./conditions";
import { el } from "./dom";
import { greatCircle, near, type LatLon } from "./sphere";
import { words } from "./strings";

export interface Listener {
  moved(view: View): void;
  pointed(photo: number | null): void;
  chosen(photo: number): void;
  /** A place where nothing is drawn, and the kilometres that a finger's width is there. */
  asked(lat: number, lon: number, km: number): void;
  /** A place that was pressed long: what looks like it? */
  alike(lat: number, lon: number): void;
}

const PAD = 48;
/** Milliseconds from which a press is a long one. */
const LONG_MS = 600;
/** Pixels of the map for one of the density, which are smooth in between; and how far beyond the map
 * it is drawn, as a share of its sides. */
const GRAIN = 5;
const BEYOND = 0.1;

export class AnswerMap {
  private readonly map: MapLibre;
  private readonly ready: Promise<void>;
  private answer: Answer | null = null;
  private opacity = 0.8;
  private readonly density = el("canvas", { width: 1, height: 1 });
  private pointedAt: number | null = null;
  private own: LatLon | null = null;
  private area: Area | null = null;
  private outline: Outline | null = null;
  private exploring = false;
  /** Whether clicks are asked of what is drawn, rather than being part of a drawing. */
  listening = true;

  /** Draw into `container`; `style` is the address of a style to use in place of the offline one. */
  constructor(
    private readonly container: HTMLElement,
    private readonly listener: Listener,
    private readonly style: string | null,
    view: View | null,
  ) {
    setWorkerUrl(document.querySelector<HTMLLinkElement>("#worker")!.href);
    this.map = new MapLibre({
      container,
      style: style ?? offlineStyle(),
      center: view ? [view.lon, view.lat] : [10, 25],
      zoom: view?.zoom ?? 1.2,
      attributionControl: false,
      fadeDuration: 0,
      dragRotate: false,
      pitchWithRotate: false,
      locale: {
        "NavigationControl.ZoomIn": words.zoomIn,
        "NavigationControl.ZoomOut": words.zoomOut,
        "Map.Title": words.map,
      },
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.addControl(new NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new ScaleControl(), "bottom-left");
    this.map.addControl(new AttributionControl({ compact: true }), "bottom-right");
    if (matchMedia("(max-width: 48rem)").matches) {
      // Where it would cover the map, whose it is is told when asked.
      this.map.once("idle", () => {
        const said = container.querySelector(".maplibregl-ctrl-attrib");
        said?.classList.remove("maplibregl-compact-show");
        said?.removeAttribute("open");
      });
    }
    this.map.once("idle", () => performance.mark("map drawn"));
    this.ready = new Promise((resolve) => this.map.once("style.load", () => resolve()));
    void this.ready.then(() => this.furnish());
    this.map.on("moveend", () => {
      const { lat, lng } = this.map.getCenter();
      listener.moved({ zoom: this.map.getZoom(), lat, lon: near(lng, 0) });
      void this.ready.then(() => this.redrawDensity());
    });
  }

  /** The map of MapLibre, for drawing on. */
  get drawable(): MapLibre {
    return this.map;
  }

  private async furnish(): Promise<void> {
    for (const [name, source] of Object.entries(sources())) this.map.addSource(name, source);
    const corners = cornersOf({ west: -1, south: -1, east: 1, north: 1 });
    this.map.addSource("density", {
      type: "canvas",
      canvas: this.density,
      animate: false,
      coordinates: corners,
    });
    const names = this.map.getStyle().layers.find(({ type }) => type === "symbol")?.id;
    for (const layer of answerLayers(this.font)) {
      // Names stay readable on what is laid over the ground.
      this.map.addLayer(layer, ["fill", "raster"].includes(layer.type) ? names : undefined);
    }
    this.listen();
    this.redraw();
    if (this.style !== null) return;
    for await (const [name, data] of ground()) this.source(name)?.setData(data);
  }

  private listen(): void {
    const { map, listener } = this;
    for (const layer of ["neighbours", "photos"]) {
      map.on("mousemove", layer, (event) => {
        map.getCanvas().style.cursor = "pointer";
        if (layer === "neighbours") listener.pointed(idOf(event.features?.[0]));
      });
      map.on("mouseleave", layer, () => {
        map.getCanvas().style.cursor = "";
        if (layer === "neighbours") listener.pointed(null);
      });
    }
    const alike = ({ lat, lng }: LngLat): void => {
      if (this.exploring && this.listening) listener.alike(lat, near(lng, 0));
    };
    map.on("contextmenu", (event) => alike(event.lngLat));
    // Some phones say nothing of a long press.
    let pressed = 0;
    map.on("touchstart", (event) => {
      clearTimeout(pressed);
      if (event.points.length > 1) return;
      pressed = window.setTimeout(() => alike(event.lngLat), LONG_MS);
    });
    for (const kind of ["touchend", "touchmove", "touchcancel", "contextmenu"] as const) {
      map.on(kind, () => clearTimeout(pressed));
    }
    map.on("click", (event) => {
      if (!this.listening) return;
      const reach = 5;
      const { x, y } = event.point;
      const hit = map.queryRenderedFeatures([[x - reach, y - reach], [x + reach, y + reach]], {
        layers: this.exploring ? ["photos"] : ["neighbours"],
      })[0];
      const photo = idOf(hit);
      if (photo !== null) listener.chosen(photo);
      else if (this.exploring) {
        if (hit && hit.geometry.type === "Point" && map.getZoom() < 12) {
          map.easeTo({ center: hit.geometry.coordinates as [number, number], zoom: map.getZoom() + 2.5 });
        }
        const { lat, lng } = event.lngLat;
        const kmPerPixel = (40075 * Math.cos((lat * Math.PI) / 180)) / (512 * 2 ** map.getZoom());
        listener.asked(lat, near(lng, 0), Math.max(0.05, 24 * kmPerPixel));
      }
    });
  }

  /** Show an answer; `fit` brings all of it into view. */
  show(answer: Answer | null, fit: boolean): void {
    this.answer = answer;
    this.own = null;
    this.pointedAt = null;
    this.container.classList.remove("faint");
    void this.ready.then(() => {
      this.redraw();
      if (!fit || !this.fit()) this.redrawDensity(); // else when it is there
    });
  }

  /** The answer shown is about to be replaced. */
  faint(): void {
    if (this.answer !== null) this.container.classList.add("faint");
  }

  /** Bring the answer into view; false where there is none. */
  fit(): boolean {
    const bounds = this.answer && boundsOf(this.answer, this.own);
    if (bounds) this.map.fitBounds(bounds, { padding: PAD, maxZoom: 13, duration: this.duration });
    return bounds !== null;
  }

  look({ zoom, lat, lon }: View): void {
    this.map.jumpTo({ center: [lon, lat], zoom });
  }

  /** Bring a place into view; `mark` it where it is not part of an answer. */
  goTo(lat: number, lon: number, mark = false): void {
    if (mark) this.mark(lat, lon);
    const zoom = Math.max(this.map.getZoom(), 6);
    this.map.easeTo({ center: [lon, lat], zoom, duration: this.duration });
  }

  /** Mark a place that is not part of an answer. */
  mark(lat: number, lon: number): void {
    void this.ready.then(() => this.source("pointer")?.setData(collection([point([lon, lat], {})])));
  }

  /** Light a neighbour up, with a line to the estimate. */
  point(photo: number | null): void {
    if (photo === this.pointedAt) return;
    this.pointedAt = photo;
    void this.ready.then(() => this.redrawPointer());
  }

  setOpacity(opacity: number): void {
    this.opacity = opacity;
    void this.ready.then(() => this.map.setPaintProperty("density", "raster-opacity", opacity));
  }

  /** Show where the photo itself says that it was taken. */
  reveal(own: LatLon): void {
    this.own = own;
    void this.ready.then(() => this.redraw());
    this.fit();
  }

  /** Show the area of a filter, and the outline of a country. */
  showArea(area: Area | null, outline: Outline | null): void {
    this.area = area;
    this.outline = outline;
    void this.ready.then(() => this.redrawArea());
  }

  /** Let a place be clicked; null if Escape is pressed instead. */
  pick(): Promise<LatLon | null> {
    const { map } = this;
    map.getCanvas().style.cursor = "crosshair";
    this.listening = false;
    return new Promise((resolve) => {
      const end = (place: LatLon | null): void => {
        map.off("click", click);
        removeEventListener("keydown", escape);
        map.getCanvas().style.cursor = "";
        this.listening = true;
        resolve(place);
      };
      const click = (event: MapMouseEvent): void =>
        end({ lat: event.lngLat.lat, lon: near(event.lngLat.lng, 0) });
      const escape = (event: KeyboardEvent): void => {
        if (event.key === "Escape") end(null);
      };
      map.on("click", click);
      addEventListener("keydown", escape);
    });
  }

  /** Show the photos there are, instead of an answer. */
  explore(on: boolean): void {
    this.exploring = on;
    void this.ready.then(() => {
      if (on && this.map.getSource("photos") === undefined) {
        this.map.addSource("photos", {
          type: "vector",
          tiles: [tiles("photos")],
          maxzoom: 14,
        });
        for (const layer of photoLayers(this.font)) this.map.addLayer(layer);
      }
      for (const { id } of this.map.getSource("photos") ? photoLayers(this.font) : []) {
        this.map.setLayoutProperty(id, "visibility", on ? "visible" : "none");
      }
    });
  }

  /** Take the colours of the theme that the page has now. */
  recolour(): void {
    void this.ready.then(() => {
      const layers: LayerSpecification[] = answerLayers(this.font);
      if (this.style === null) layers.unshift(...groundLayers());
      if (this.map.getSource("photos")) layers.push(...photoLayers(this.font));
      for (const layer of layers) {
        for (const [name, value] of Object.entries(layer.paint ?? {})) {
          this.map.setPaintProperty(layer.id, name as never, value as never);
        }
      }
      if (this.style === null) {
        const world = groundLayers().find(({ id }) => id === "world");
        this.map.setLayoutProperty("world", "visibility", (world?.layout as { visibility: string }).visibility as never);
      }
      this.setOpacity(this.opacity);
      this.redrawDensity();
    });
  }

  /** Fonts that the style has: where they come from a host, it may have no others. */
  private get font(): string[] {
    const { glyphs, layers } = this.map.getStyle();
    const texts = layers.filter(({ type }) => type === "symbol");
    const known = texts.map(({ layout }) => (layout as { "text-font"?: unknown })?.["text-font"]);
    const found = known.find((each) => Array.isArray(each) && each.every((name) => typeof name === "string"));
    return glyphs === undefined || found === undefined ? FONT : (found as string[]);
  }

  private get duration(): number {
    return matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 600;
  }

  private source(name: string): GeoJSONSource | undefined {
    return this.map.getSource<GeoJSONSource>(name);
  }

  private redraw(): void {
    const { answer, own } = this;
    const regions = answer?.regions?.features ?? [];
    this.source("regions")?.setData(collection(regions as Feature[]));
    this.map.setLayoutProperty("density", "visibility", "none"); // until it is drawn
    this.source("neighbours")?.setData(collection(answer ? neighbourPoints(answer.neighbours) : []));
    this.source("modes")?.setData(collection(answer ? modePoints(answer) : []));
    const revealed: Feature[] = [];
    if (own !== null) {
      revealed.push(point([own.lon, own.lat], {}));
      if (answer?.estimate) revealed.push(line(answer.estimate, own));
    }
    this.source("own")?.setData(collection(revealed));
    this.redrawArea();
    this.setOpacity(this.opacity);
    this.redrawPointer();
  }

  private redrawArea(): void {
    const shown = areaFeatures(this.area);
    if (this.outline !== null) shown.push({ type: "Feature", properties: {}, geometry: this.outline });
    this.source("area")?.setData(collection(shown));
  }

  /** Draw the density as it is where the map is now. */
  private redrawDensity(): void {
    const { answer, map, density } = this;
    const kernels = answer?.kernels;
    if (map.getLayer("density") === undefined) return;
    const shown = kernels !== undefined && kernels.kernels.length > 0;
    map.setLayoutProperty("density", "visibility", shown ? "visible" : "none");
    if (!shown) return;
    const [{ clientWidth, clientHeight }, bounds] = [this.container, map.getBounds()];
    const middle = near(map.getCenter().lng, 0);
    const turn = Math.min(180, (bounds.getEast() - bounds.getWest()) * (0.5 + BEYOND));
    const high = (bounds.getNorth() - bounds.getSouth()) * BEYOND;
    const extent = {
      west: middle - turn,
      east: middle + turn,
      south: Math.max(-85, bounds.getSouth() - high),
      north: Math.min(85, bounds.getNorth() + high),
    };
    const [width, height] = [clientWidth, clientHeight].map((side) =>
      Math.max(2, Math.ceil((side * (1 + 2 * BEYOND)) / GRAIN)),
    ) as [number, number];
    const image = drawDensity(kernels, extent, [width, height], rgb(colour("series-2")));
    [density.width, density.height] = [width, height];
    density.getContext("2d")!.putImageData(image, 0, 0);
    const source = map.getSource<CanvasSource>("density");
    source?.setCoordinates(cornersOf(extent));
    source?.play();
    source?.pause(); // which takes the new picture in
  }

  private redrawPointer(): void {
    const { answer, pointedAt } = this;
    const found = answer?.neighbours.find(({ photo_id }) => photo_id === pointedAt);
    const shown: Feature[] = [];
    if (found !== undefined) {
      shown.push(point([found.lon, found.lat], {}));
      if (answer?.estimate) shown.push(line(answer.estimate, found));
    }
    this.source("pointer")?.setData(collection(shown));
  }
}

/** A map, or null where the browser cannot draw one. */
export function makeMap(...given: ConstructorParameters<typeof AnswerMap>): AnswerMap | null {
  const test = document.createElement("canvas");
  if (test.getContext("webgl2") === null) return null;
  try {
    return new AnswerMap(...given);
  } catch (error) {
    console.error(error);
    return null;
  }
}

function sources(): StyleSpecification["sources"] {
  const names = ["regions", "area", "pointer", "neighbours", "own", "modes"];
  return Object.fromEntries(
    names.map((name) => [name, { type: "geojson", data: collection([]), tolerance: 0.1 }]),
  );
}

function answerLayers(font: string[]): LayerSpecification[] {
  const [estimate, neighbour, truth] = [colour("series-2"), colour("series-1"), colour("series-3")];
  const paper = colour("panel");
  const inner: FilterSpecification = ["==", ["get", "level"], 0.5];
  const outer: FilterSpecification = ["!=", ["get", "level"], 0.5];
  const points: FilterSpecification = ["==", ["geometry-type"], "Point"];
  const lines: FilterSpecification = ["==", ["geometry-type"], "LineString"];
  return [
    {
      id: "density",
      type: "raster",
      source: "density",
      layout: { visibility: "none" },
      paint: { "raster-fade-duration": 0, "raster-resampling": "linear" },
    },
    {
      id: "region-inner-fill",
      type: "fill",
      source: "regions",
      filter: inner,
      paint: { "fill-color": estimate, "fill-opacity": 0.08 },
    },
    {
      id: "region-outer",
      type: "line",
      source: "regions",
      filter: outer,
      paint: { "line-color": estimate, "line-width": 1.6, "line-dasharray": [3, 2] },
    },
    {
      id: "region-inner",
      type: "line",
      source: "regions",
      filter: inner,
      paint: { "line-color": estimate, "line-width": 2 },
    },
    {
      id: "area-fill",
      type: "fill",
      source: "area",
      paint: { "fill-color": truth, "fill-opacity": 0.07 },
    },
    { id: "area", type: "line", source: "area", paint: { "line-color": truth, "line-width": 1.5 } },
    {
      id: "pointer-line",
      type: "line",
      source: "pointer",
      filter: lines,
      paint: { "line-color": neighbour, "line-width": 2 },
    },
    {
      id: "neighbours",
      type: "circle",
      source: "neighbours",
      paint: {
        "circle-color": neighbour,
        "circle-radius": ["+", 3.5, ["*", 9, ["sqrt", ["get", "share"]]]],
        "circle-opacity": 0.85,
        "circle-stroke-color": paper,
        "circle-stroke-width": 1,
      },
    },
    {
      id: "pointer",
      type: "circle",
      source: "pointer",
      filter: points,
      paint: {
        "circle-color": neighbour,
        "circle-radius": 9,
        "circle-stroke-color": colour("ink"),
        "circle-stroke-width": 2.5,
      },
    },
    {
      id: "own-line",
      type: "line",
      source: "own",
      filter: lines,
      paint: { "line-color": truth, "line-width": 2, "line-dasharray": [1, 1.5] },
    },
    {
      id: "own",
      type: "circle",
      source: "own",
      filter: points,
      paint: {
        "circle-color": truth,
        "circle-radius": 7,
        "circle-stroke-color": paper,
        "circle-stroke-width": 2,
      },
    },
    {
      id: "modes",
      type: "circle",
      source: "modes",
      paint: {
        "circle-color": paper,
        "circle-radius": ["case", ["==", ["get", "rank"], 1], 12, 9],
        "circle-stroke-color": estimate,
        "circle-stroke-width": ["case", ["==", ["get", "rank"], 1], 3.5, 2],
      },
    },
    {
      id: "mode-ranks",
      type: "symbol",
      source: "modes",
      layout: {
        "text-field": ["to-string", ["get", "rank"]],
        "text-font": font,
        "text-size": 12,
        "text-allow-overlap": true,
        "text-ignore-placement": true,
      },
      paint: { "text-color": colour("ink") },
    },
  ];
}

function photoLayers(font: string[]): LayerSpecification[] {
  return [
    {
      id: "photos",
      type: "circle",
      source: "photos",
      "source-layer": "photos",
      paint: {
        "circle-color": colour("series-1"),
        "circle-radius": ["interpolate", ["linear"], ["log10", ["get", "count"]], 0, 4.5, 4, 20],
        "circle-opacity": 0.8,
        "circle-stroke-color": colour("panel"),
        "circle-stroke-width": 1,
      },
    },
    {
      id: "photo-counts",
      type: "symbol",
      source: "photos",
      "source-layer": "photos",
      filter: [">", ["get", "count"], 9],
      layout: {
        "text-field": ["to-string", ["get", "count"]],
        "text-font": font,
        "text-size": 10,
        "symbol-sort-key": ["-", ["get", "count"]],
      },
      paint: { "text-color": colour("panel") },
    },
  ];
}

/** The most modes that are numbered. */
export const MODES = 5;

function modePoints({ modes, estimate }: Answer): Feature[] {
  const shown = modes.slice(0, MODES).map(({ lat, lon }, i) => point([lon, lat], { rank: i + 1 }));
  if (estimate === null) return shown;
  // The estimate itself, which a method may have moved off its mode.
  const best = point([estimate.lon, estimate.lat], { rank: 1 });
  return [...shown.slice(1).reverse(), best];
}

function neighbourPoints(neighbours: Neighbour[]): Feature[] {
  const most = Math.max(...neighbours.map(({ weight }) => weight), Number.MIN_VALUE);
  return neighbours
    .map(({ photo_id, lat, lon, weight }) => point([lon, lat], { photo: photo_id, share: weight / most }))
    .reverse();
}

function cornersOf({ west, south, east, north }: Extent): CanvasSource["coordinates"] {
  return [[west, north], [east, north], [east, south], [west, south]];
}

/** Red, green and blue of a colour written as `#rrggbb`. */
function rgb(hex: string): [number, number, number] {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];
}

function ring([west, south, east, north]: [number, number, number, number]): [number, number][] {
  const right = east < west ? east + 360 : east;
  return [[west, south], [right, south], [right, north], [west, north], [west, south]];
}

function line(from: LatLon, to: LatLon): Feature {
  return {
    type: "Feature",
    properties: {},
    geometry: { type: "LineString", coordinates: greatCircle(from, to) },
  };
}

function areaFeatures(area: Area | null): Feature[] {
  if (area === null) return [];
  const geometry: GeoJSON.Geometry =
    area.kind === "within"
      ? area.value
      : { type: "Polygon", coordinates: [area.kind === "bbox" ? ring(area.value) : circle(...area.value)] };
  return [{ type: "Feature", properties: {}, geometry }];
}

function circle(lat: number, lon: number, km: number): [number, number][] {
  const rad = Math.PI / 180;
  const [reach, sin, cos] = [km / 6371, Math.sin(lat * rad), Math.cos(lat * rad)];
  return Array.from({ length: 73 }, (_, i) => {
    const bearing = i * 5 * rad;
    const up = sin * Math.cos(reach) + cos * Math.sin(reach) * Math.cos(bearing);
    const across = Math.atan2(
      Math.sin(bearing) * Math.sin(reach) * cos,
      Math.cos(reach) - sin * up,
    );
    return [lon + across / rad, Math.asin(Math.max(-1, Math.min(1, up))) / rad];
  });
}

/** Regions that grow by more than this from 50 to 90 % are spread out: then the inner one is shown. */
const SPREAD = 4;

/** What holds the answer: its outer region, or the inner one and the likely modes. */
function boundsOf({ estimate, regions, modes, neighbours }: Answer, own: LatLon | null): LngLatBoundsLike | null {
  const centre = estimate ?? modes[0] ?? neighbours[0];
  if (centre === undefined) return null;
  const [outer, inner] = regions?.features ?? [];
  const compact = outer && inner && outer.properties.area_km2 < SPREAD * inner.properties.area_km2;
  const around = ((compact ? outer : inner)?.geometry.coordinates ?? []).flat(2) as [number, number][];
  const places = modes.slice(1, MODES).filter(({ mass }) => mass >= 0.15);
  const all: [number, number][] = [
    [centre.lon, centre.lat],
    ...around,
    ...places.map(({ lon, lat }): [number, number] => [lon, lat]),
    ...(own ? [[own.lon, own.lat] as [number, number]] : []),
  ];
  const lons = all.map(([lon]) => near(lon, centre.lon));
  const lats = all.map(([, lat]) => Math.max(-80, Math.min(84, lat)));
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}

function idOf(feature: { properties?: unknown; id?: unknown } | undefined): number | null {
  const found = feature?.properties as { photo?: unknown; count?: number } | undefined;
  if (typeof found?.photo === "number") return found.photo;
  return found?.count === 1 && typeof feature?.id === "number" ? feature.id : null;
}
