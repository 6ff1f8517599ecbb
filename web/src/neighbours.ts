// The neighbours as a strip of pictures, tied to their points on the map; one beside the query.

import * as api from "./api";
import type { Answer, Neighbour, Photo } from "./api";
import { button, el, fill } from "./dom";
import { greatCircleKm } from "./sphere";
import { words } from "./strings";

export interface NeighbourActions {
  pointed(photo: number | null): void;
  leaveOut(photo: number): void;
  leaveOutAuthor(author: string): void;
  likeThis(photo: number): void;
  placeThis(photo: number): void;
  /** The query's picture once more, for a comparison. */
  picture(): Node;
}

export class NeighbourStrip {
  readonly element = el("section", { class: "strip", "aria-label": words.neighboursOf });
  private readonly items = new Map<number, HTMLElement>();
  private readonly list = el("ol", { class: "neighbours" });
  private readonly compared = el("div", { class: "compared", role: "region", "aria-label": words.compare });
  private answer: Answer | null = null;
  /** The photo beside the query, if one is. */
  chosen: number | null = null;

  constructor(private readonly actions: NeighbourActions) {
    this.element.append(this.list, this.compared);
    this.list.addEventListener("keydown", (event) => this.step(event));
  }

  show(answer: Answer | null): void {
    this.answer = answer;
    this.items.clear();
    this.close();
    fill(this.list, ...(answer?.neighbours ?? []).map((neighbour) => this.item(neighbour)));
    this.list.scrollLeft = 0;
  }

  private item(neighbour: Neighbour): HTMLElement {
    const { photo_id, rank, weight } = neighbour;
    const { pointed } = this.actions;
    const chosen = el(
      "button",
      {
        type: "button",
        "aria-label": words.neighbour(rank, weight),
        tabindex: rank === 1 ? 0 : -1,
        onmouseenter: () => pointed(photo_id),
        onmouseleave: () => pointed(null),
        onfocus: () => pointed(photo_id),
        onblur: () => pointed(null),
        onclick: () => this.choose(photo_id),
      },
      picture(photo_id, 96),
      el("span", { class: "weight", "aria-hidden": "true" }, words.percent(weight)),
    );
    const item = el("li", {}, chosen);
    this.items.set(photo_id, item);
    return item;
  }

  /** The map points at a neighbour, or at none. */
  point(photo: number | null): void {
    for (const [id, item] of this.items) item.classList.toggle("pointed", id === photo);
    if (photo === null) return;
    const item = this.items.get(photo);
    if (item !== undefined && !item.contains(document.activeElement)) {
      const { offsetLeft, offsetWidth } = item;
      const { scrollLeft, clientWidth } = this.list;
      const seen = offsetLeft >= scrollLeft && offsetLeft + offsetWidth <= scrollLeft + clientWidth;
      if (!seen) this.list.scrollLeft = offsetLeft - clientWidth / 2;
    }
  }

  /** Open a neighbour beside the query. */
  choose(photo: number): void {
    const neighbour = this.answer?.neighbours.find(({ photo_id }) => photo_id === photo);
    if (neighbour === undefined) return;
    for (const [id, item] of this.items) item.classList.toggle("chosen", id === photo);
    this.chosen = photo;
    this.actions.pointed(photo);
    const known = this.answer?.photos?.find(({ id }) => id === photo);
    fill(this.compared, this.comparison(neighbour, known));
    this.compared.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
  }

  close(): void {
    this.chosen = null;
    fill(this.compared);
    for (const item of this.items.values()) item.classList.remove("chosen");
  }

  private comparison(neighbour: Neighbour, known: Photo | undefined): HTMLElement {
    const { photo_id } = neighbour;
    const { actions } = this;
    const away = this.answer?.estimate ? greatCircleKm(this.answer.estimate, neighbour) : null;
    const close = (): void => {
      const back = this.items.get(photo_id)?.querySelector("button");
      this.close();
      actions.pointed(null);
      back?.focus();
    };
    const facts: [string, string | null | undefined][] = [
      [words.weight, words.percent(neighbour.weight)],
      [words.distance, neighbour.distance.toFixed(3)],
      [words.position, away === null ? null : words.away(away)],
      ...photoFacts(known),
    ];
    const author = known?.author ?? null;
    return el(
      "div",
      { class: "comparison", onkeydown: ((event: KeyboardEvent) => event.key === "Escape" && close()) as EventListener },
      el("div", { class: "pictures" }, actions.picture(), picture(photo_id, 1024)),
      factList(facts),
      el(
        "div",
        { class: "actions" },
        button(words.leaveOut, () => actions.leaveOut(photo_id)),
        author !== null && button(words.leaveOutAuthor, () => actions.leaveOutAuthor(author)),
        button(words.likeThis, () => actions.likeThis(photo_id)),
        button(words.placeThis, () => actions.placeThis(photo_id)),
        button(words.close, close),
      ),
    );
  }

  /** Arrow keys go through the strip, as through one thing. */
  private step(event: KeyboardEvent): void {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const buttons = [...this.list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const next = by === undefined || at < 0 ? undefined : buttons[at + by];
    if (next === undefined) return;
    event.preventDefault();
    buttons[at]!.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

export function photoFacts(photo: Photo | undefined): [string, string | null | undefined][] {
  if (photo === undefined) return [];
  if (photo.position_source === "place") {
    return [
      [words.kind, words.ofGallery],
      [words.collection, photo.collection],
    ];
  }
  return [
    [words.author, photo.author ?? words.unknown],
    [words.licence, photo.licence ?? words.unknown],
    [words.taken, photo.taken_at?.slice(0, 10) ?? words.unknown],
    [words.collection, photo.collection],
  ];
}

export function factList(facts: [string, string | null | undefined][]): HTMLElement {
  const known = facts.filter((fact) => fact[1] !== null && fact[1] !== undefined);
  return el("dl", {}, ...known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** A photo of the collections as a picture, or the word that there is none. */
export function picture(photo: number, size: 96 | 1024): HTMLElement {
  const image = el("img", {
    src: api.thumbnail(photo, size > 256 ? 1024 : 256),
    alt: "",
    loading: "lazy",
    decoding: "async",
    onerror: () => image.replaceWith(el("span", { class: "missing" }, words.noThumbnail)),
  });
  return image;
}
