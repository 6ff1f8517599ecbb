// The photos there are, without a question: near a place, like one another, and where one would be
// placed without itself.

import * as api from "./api";
import { button, el, fill } from "./dom";
import { distance } from "./figures";
import { factList, photoFacts, picture } from "./neighbours";
import { words } from "./strings";

export interface ExploreActions {
  goTo(lat: number, lon: number): void;
  choose(photo: number): void;
  placeThis(photo: number): void;
}

export class Explore {
  readonly element = el("section", { class: "explore", "aria-label": words.explore });

  constructor(private readonly actions: ExploreActions) {
    this.start();
  }

  start(): void {
    fill(this.element, el("h1", {}, words.explore), el("p", {}, words.exploreHelp));
  }

  async near(lat: number, lon: number, km: number): Promise<void> {
    const [photos, place] = await Promise.all([
      api.photosNear(lat, lon, km),
      api.placeName(lat, lon, km),
    ]);
    fill(
      this.element,
      el("h1", { role: "status" }, words.nearHere(photos.length, place)),
      photos.length > 0 && el("p", {}, words.nearestFirst),
      this.gallery(photos.map((photo) => ({ id: photo.id, note: distance(photo.distance_km) }))),
    );
  }

  async photo(id: number): Promise<void> {
    const photo = await api.readPhoto(id);
    const { lat, lon } = photo;
    const similar = el("div", {});
    fill(
      this.element,
      picture(id, 1024),
      el("h1", {}, photo.title ?? photo.uri.split("/").at(-1) ?? ""),
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
    return el(
      "ul",
      { class: "gallery" },
      ...photos.map(({ id, note }) =>
        el(
          "li",
          {},
          el(
            "button",
            { type: "button", onclick: () => this.actions.choose(id), "aria-label": words.photo(id) },
            picture(id, 96),
            el("span", { class: "note" }, note),
          ),
        ),
      ),
    );
  }
}
