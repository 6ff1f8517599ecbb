// The photos there are, without a question: near a place, like one another, and where one would be
// placed without itself.

import * as api from "./api";
import type { Photo } from "./api";
import { button, el, fill } from "./dom";
import { distance } from "./figures";
import { factList, photoFacts, picture } from "./neighbours";
import { placeField } from "./place_field";
import { words } from "./strings";

export interface ExploreActions {
  goTo(lat: number, lon: number): void;
  choose(photo: number): void;
  placeThis(photo: number): void;
  failed(error: unknown): void;
}

/** Kilometres round a place that is given by its numbers; and half the way round the Earth. */
const REACH_KM = 25;
const HALF_ROUND_KM = 20_015;

export class Explore {
  readonly element = el("section", { class: "explore", "aria-label": words.explore });

  constructor(private readonly actions: ExploreActions) {
    this.start();
  }

  start(): void {
    const place = placeField("here", ({ lat, lon }) => {
      this.actions.goTo(lat, lon);
      void this.near(lat, lon, REACH_KM).catch(this.actions.failed);
    });
    fill(this.element, el("h1", {}, words.explore), el("p", {}, words.exploreHelp), place);
  }

  async near(lat: number, lon: number, km: number): Promise<void> {
    const [photos, place] = await Promise.all([
      api.photosNear(lat, lon, km),
      api.placeName(lat, lon, km),
    ]);
    const [nearest] = photos;
    fill(
      this.element,
      el("h1", { role: "status" }, words.nearHere(photos.length, place)),
      nearest && this.card(nearest.id, words.nearest(nameOf(nearest))),
      button(words.looksLike, () => void this.alike(lat, lon).catch(this.actions.failed)),
      photos.length > 1 && el("h2", {}, words.nearestFirst),
      this.gallery(photos.map((photo) => ({ id: photo.id, note: distance(photo.distance_km) }))),
    );
  }

  /** What looks like a place: like the photo that is nearest to it. */
  async alike(lat: number, lon: number): Promise<void> {
    const [nearest] = await api.photosNear(lat, lon, HALF_ROUND_KM, 1);
    const like = el("div", {});
    fill(
      this.element,
      el("h1", { role: "status" }, words.looksLike),
      nearest === undefined
        ? el("p", {}, words.nearHere(0, null))
        : el("p", {}, words.looksLikeBy(nearest.distance_km)),
      nearest && this.card(nearest.id, nameOf(nearest)),
      like,
    );
    if (nearest !== undefined) await this.like(nearest.id, like);
  }

  /** A photo, large, that leads to what is known of it. */
  private card(id: number, name: string): HTMLElement {
    return el(
      "button",
      { type: "button", class: "card", onclick: () => this.actions.choose(id) },
      picture(id, 1024),
      el("span", {}, name),
    );
  }

  async photo(id: number): Promise<void> {
    const photo = await api.readPhoto(id);
    const { lat, lon } = photo;
    const similar = el("div", {});
    fill(
      this.element,
      picture(id, 1024),
      el("h1", {}, nameOf(photo)),
      factList(photoFacts(photo)),
      el(
        "div",
        { class: "actions" },
        button(words.placeThis, () => this.actions.placeThis(id)),
        button(words.likeThis, () => void this.like(id, similar)),
      ),
      similar,
    );
    if (lat !== null && lon !== null) this.actions.goTo(lat, lon);
  }

  private async like(id: number, into: HTMLElement): Promise<void> {
    const found = await api.photosLike(id);
    fill(
      into,
      el("h2", {}, words.similar),
      this.gallery(found.map(({ photo_id, distance }) => ({ id: photo_id, note: distance.toFixed(3) }))),
    );
  }

  private gallery(photos: { id: number; note: string }[]): HTMLElement {
    const named = photos.map((photo) => ({ ...photo, name: words.photo(photo.id) }));
    return gallery(named, (photo) => this.actions.choose(photo));
  }
}

/** What a photo of the collections is called. */
export const nameOf = ({ title, uri }: Photo): string => title ?? uri.split("/").at(-1) ?? "";

/** Photos as small pictures to choose from. */
export function gallery(
  photos: { id: number; name: string; note?: string }[],
  chosen: (photo: number) => void,
): HTMLElement {
  return el(
    "ul",
    { class: "gallery" },
    ...photos.map(({ id, name, note }) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", onclick: () => chosen(id), "aria-label": name },
          picture(id, 96),
          note !== undefined && el("span", { class: "note" }, note),
        ),
      ),
    ),
  );
}
