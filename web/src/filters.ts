// Which photos may be neighbours: fields, and areas drawn on the map.

import * as api from "./api";
import { asked, isNone, none, type Area, type Conditions } from "./conditions";
import { dateRange } from "./date_range";
import { button, el, fill } from "./dom";
import type { Shape } from "./drawing";
import { words } from "./strings";

export interface FilterActions {
  changed(conditions: Conditions): void;
  draw: ((shape: Shape) => Promise<Area | null>) | null;
}

export class FilterBar {
  readonly element = el("section", { class: "filters", "aria-label": words.filters });
  private now = none();
  private choices: api.Choices | null = null;
  private collections: string[] = [];
  private countries: string[] = [];
  private readonly passing = el("span", { class: "passing", role: "status" });

  constructor(private readonly actions: FilterActions) {
    this.render();
  }

  /** Read what there is to choose from. */
  async load(): Promise<api.Choices> {
    const [choices, collections, countries] = await Promise.all([
      api.choices(),
      api.collections(),
      api.countries(),
    ]);
    this.choices = choices;
    this.collections = collections.map(({ name }) => name);
    this.countries = countries;
    this.render();
    return choices;
  }

  show(conditions: Conditions): void {
    this.now = conditions;
    this.render();
  }

  private change(by: Partial<Conditions>): void {
    this.show({ ...this.now, ...by });
    this.actions.changed(this.now);
  }

  private render(): void {
    const { now, choices } = this;
    const focused = document.activeElement?.id;
    fill(
      this.element,
      this.areaButtons(),
      this.countryField(),
      this.dateField("after", words.after, choices?.taken?.[0]),
      this.dateField("before", words.before, choices?.taken?.[1]),
      choices && dateRange(choices, now, (dates) => this.change(dates)),
      this.choice("collections", words.collection, this.collections),
      this.choice("authors", words.author, Object.keys(choices?.authors ?? {})),
      this.choice("licences", words.licence, Object.keys(choices?.licences ?? {})),
      this.leftOut(),
      !isNone(now) && button(words.clear, () => this.change(none()), { class: "clear" }),
      this.passing,
    );
    if (focused) document.getElementById(focused)?.focus();
    void this.count();
  }

  private async count(): Promise<void> {
    const { filter } = asked(this.now);
    fill(this.passing);
    if (filter === undefined) return;
    try {
      const { photos, of } = await api.check(filter);
      if (asked(this.now).filter !== undefined) fill(this.passing, words.passing(photos, of));
    } catch (error) {
      fill(this.passing, error instanceof api.Refusal ? error.detail : words.wentWrong);
    }
  }

  private areaButtons(): HTMLElement {
    const { area } = this.now;
    const hint = el("span", { class: "hint", role: "status" });
    const { draw } = this.actions;
    const start = (shape: Shape) => async (): Promise<void> => {
      fill(hint, words.drawing[shape]);
      const drawn = await draw!(shape);
      fill(hint);
      if (drawn !== null) this.change({ area: drawn });
    };
    const shapes: [Shape, string][] = [
      ["rectangle", words.box],
      ["circle", words.circle],
      ["polygon", words.polygon],
    ];
    return el(
      "div",
      { class: "areas", role: "group", "aria-label": words.draw },
      ...(draw === null ? [] : shapes.map(([shape, text]) => button(text, () => void start(shape)()))),
      this.boxField(),
      area && el("span", {}, words.areaOf[area.kind], " ", button("×", () => this.change({ area: null }), { "aria-label": words.removeArea })),
      hint,
    );
  }

  /** A box by its numbers, for who does not draw. */
  private boxField(): HTMLElement {
    const { area } = this.now;
    const input = el("input", {
      id: "box",
      class: "box",
      value: area?.kind === "bbox" ? area.value.join(", ") : "",
      placeholder: words.coordinates,
      "aria-label": words.coordinates,
      onchange: () => {
        const numbers = input.value.split(/[\s,;]+/).filter(Boolean).map(Number);
        const valid = numbers.length === 4 && numbers.every(Number.isFinite);
        input.setCustomValidity(valid || numbers.length === 0 ? "" : words.coordinates);
        if (valid) this.change({ area: { kind: "bbox", value: numbers as [number, number, number, number] } });
        else if (numbers.length === 0 && area !== null) this.change({ area: null });
        else input.reportValidity();
      },
    });
    return input;
  }

  private countryField(): HTMLElement {
    const input = el("input", {
      id: "country",
      list: "countries",
      value: this.now.country ?? "",
      placeholder: words.anyCountry,
      onchange: () => this.change({ country: input.value.trim() || null }),
    });
    const list = el("datalist", { id: "countries" }, ...this.countries.map((name) => el("option", { value: name })));
    return el("label", {}, words.country, input, list);
  }

  private dateField(name: "after" | "before", text: string, bound: string | undefined): HTMLElement {
    const input = el("input", {
      id: name,
      type: "date",
      value: this.now[name]?.slice(0, 10) ?? "",
      title: bound?.slice(0, 10),
      onchange: () => this.change({ [name]: input.value || null }),
    });
    return el("label", {}, text, input);
  }

  private choice(name: "collections" | "authors" | "licences", text: string, known: string[]): HTMLElement | null {
    const now = this.now[name];
    if (known.length === 0 && now === null) return null;
    const names = now !== null && !known.includes(now) ? [now, ...known] : known;
    const select = el(
      "select",
      { id: name, onchange: () => this.change({ [name]: select.value || null }) },
      el("option", { value: "" }, words.any),
      ...names.map((each) => el("option", { value: each, selected: each === now }, each)),
    );
    return el("label", {}, text, select);
  }

  private leftOut(): HTMLElement | null {
    const { withoutPhotos, withoutAuthors } = this.now;
    if (withoutPhotos.length + withoutAuthors.length === 0) return null;
    return el(
      "span",
      { class: "left-out" },
      words.leftOut(withoutPhotos.length, withoutAuthors.length),
      " ",
      button(words.bringBack, () => this.change({ withoutPhotos: [], withoutAuthors: [] }), { class: "link" }),
    );
  }
}
