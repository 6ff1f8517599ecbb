// Many answers, decided on one after the other, by the keyboard.

import * as api from "./api";
import type { Decision, Listed } from "./api";
import { button, el, fill } from "./dom";
import { placeField } from "./place_field";
import type { LatLon } from "./sphere";
import { words } from "./strings";

export interface ReviewActions {
  /** Show an answer on the map and in words. */
  show(id: number): Promise<void>;
  /** Let a place be chosen on the map; null if it is not. */
  pick(): Promise<LatLon | null>;
  /** Make the map as large as the page, or as it was. */
  full(): void;
  failed(error: unknown): void;
}

type Order = "open" | "confidence" | "error" | "latest";

/** The answers of an order, first those a person should look at first. */
const ORDERS: Record<Order, (a: Listed, b: Listed) => number> = {
  // Neither clear nor hopeless, and nobody has decided yet.
  open: (a, b) =>
    Number(a.decision !== null) - Number(b.decision !== null) || doubt(a) - doubt(b) || b.id - a.id,
  confidence: (a, b) => (a.agreement ?? 0) - (b.agreement ?? 0),
  error: (a, b) => (b.error_km ?? -1) - (a.error_km ?? -1),
  latest: (a, b) => b.id - a.id,
};

const doubt = ({ agreement }: Listed): number => Math.abs((agreement ?? 0) - 0.5);

export class Review {
  readonly element = el("section", { class: "review", "aria-label": words.review });
  private answers: Listed[] = [];
  private next: number | null = null;
  private order: Order = "open";
  private at = 0;
  private busy = false;
  /** Whether many are about to be accepted, and from which agreement, per cent. */
  private many = false;
  private least = 80;
  private readonly pictures = new Map<number, HTMLElement>();
  private readonly said = el("p", { class: "note", role: "status" });
  /** Keys that do what a button does. */
  private readonly keys: [key: string, text: string, act: () => void][] = [
    ["a", words.accept, () => void this.decide("accept")],
    ["m", words.move, () => void this.move()],
    ["r", words.reject, () => void this.decide("reject")],
    ["s", words.unsure, () => void this.decide("unsure")],
    ["u", words.undo, () => void this.undo()],
    [" ", words.full, () => this.actions.full()],
  ];

  constructor(private readonly actions: ReviewActions) {
    addEventListener("keydown", (event) => this.key(event));
  }

  async enter(): Promise<void> {
    this.answers = [];
    this.next = null;
    await this.more();
    this.go(0);
  }

  private async more(): Promise<void> {
    const page = await api.answers(this.next);
    this.answers.push(...page.answers);
    this.next = page.next;
    this.sort();
  }

  private sort(): void {
    const now = this.answers[this.at];
    this.answers.sort(ORDERS[this.order]);
    this.at = Math.max(0, now === undefined ? 0 : this.answers.indexOf(now));
    this.render();
  }

  private get current(): Listed | undefined {
    return this.answers[this.at];
  }

  private render(): void {
    const select = el(
      "select",
      {
        id: "order",
        onchange: () => {
          this.order = select.value as Order;
          this.at = 0;
          this.answers.sort(ORDERS[this.order]);
          this.go(0);
        },
      },
      ...(Object.keys(ORDERS) as Order[]).map((order) =>
        el("option", { value: order, selected: order === this.order }, words.orders[order]),
      ),
    );
    fill(
      this.element,
      el(
        "div",
        { class: "bar" },
        el("label", {}, words.order, select),
        ...this.keys.map(([key, text, act]) =>
          button(text, act, {
            disabled: this.current === undefined,
            "aria-keyshortcuts": key === " " ? "Space" : key,
            title: words.key(key === " " ? "space" : key),
          }),
        ),
        this.manyForm(),
        placeField("to", (place) => void this.decide("move", place)),
        el("span", { class: "note" }, words.reviewKeys),
        this.said,
      ),
      el(
        "div",
        { class: "rows", tabindex: 0 }, // so that it can be scrolled by keys
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, ...words.reviewColumns.map((name) => el("th", { scope: "col" }, name)))),
          el("tbody", {}, ...this.answers.map((answer, i) => this.row(answer, i))),
        ),
        this.next !== null && button(words.more, () => void this.more().catch(this.actions.failed)),
      ),
    );
    this.element.querySelector("tr[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  private row(answer: Listed, i: number): HTMLElement {
    return el(
      "tr",
      { "aria-current": i === this.at && "true", onclick: () => this.go(i) },
      el("td", {}, this.picture(answer.id)),
      el("th", { scope: "row" }, answer.photo.split("/").at(-1) ?? answer.photo),
      el("td", {}, answer.place ?? words.unknown),
      el("td", {}, answer.agreement === null ? "–" : words.percent(answer.agreement)),
      el("td", {}, answer.error_km === null ? "–" : words.off(answer.error_km)),
      el("td", {}, answer.created_at.slice(0, 10)),
      el("td", { class: answer.decision ?? "" }, answer.decision === null ? "" : words.decisions[answer.decision]),
    );
  }

  /** The photo of an answer, which is asked for once: the table is drawn anew at each step. */
  private picture(id: number): HTMLElement {
    const known = this.pictures.get(id);
    if (known !== undefined) return known;
    const none = el("span", { class: "none" });
    const image = el("img", {
      src: api.pictureOf(id),
      alt: "",
      loading: "lazy",
      onerror: () => {
        this.pictures.set(id, none);
        image.replaceWith(none);
      },
    });
    this.pictures.set(id, image);
    return image;
  }

  /** Accept all that are sure enough: first how many these are, then the deed. */
  private manyForm(): HTMLElement {
    if (!this.many) {
      return button(words.many, () => {
        this.many = true;
        this.render();
        document.getElementById("many")?.focus();
      }, { disabled: this.current === undefined });
    }
    const least = el("input", {
      id: "many",
      type: "number",
      min: 0,
      max: 100,
      step: 5,
      value: this.least,
      oninput: () => told(),
    });
    const found = (): Listed[] =>
      this.answers.filter(
        ({ decision, agreement, lat }) =>
          decision === null && lat !== null && agreement !== null && 100 * agreement >= least.valueAsNumber,
      );
    const said = el("span", { role: "status" });
    const go = button("", () => void this.acceptAll(found()), { class: "main" });
    const told = (): void => {
      this.least = least.valueAsNumber;
      const { length } = found();
      fill(said, words.manyCount(length));
      fill(go, words.manyAccept(length));
      go.disabled = length === 0;
    };
    told();
    const leave = (): void => {
      this.many = false;
      this.render();
    };
    return el(
      "span",
      { class: "many", role: "group", "aria-label": words.many },
      el("label", {}, words.manyFrom, least, "%"),
      said,
      go,
      button(words.cancel, leave),
    );
  }

  private async acceptAll(answers: Listed[]): Promise<void> {
    let done = 0;
    await this.change(async () => {
      for (const answer of answers) {
        await api.decide(answer.id, "accept", null);
        answer.decision = "accept";
        done += 1;
        fill(this.said, words.manyDone(done));
      }
      this.many = false;
    });
    this.render();
  }

  private go(to: number): void {
    this.at = Math.max(0, Math.min(this.answers.length - 1, to));
    this.render();
    const { current } = this;
    if (current === undefined) fill(this.said, words.noAnswers);
    else void this.actions.show(current.id).catch(this.actions.failed);
  }

  private key(event: KeyboardEvent): void {
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (event.key === " " && target instanceof HTMLButtonElement) return; // which it presses
    if (!this.element.isConnected || this.element.offsetParent === null || typing) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    const act = this.keys.find(([key]) => key === event.key)?.[2];
    if (step === undefined && act === undefined) return;
    event.preventDefault();
    if (step !== undefined) this.go(this.at + step);
    act?.();
  }

  private async move(): Promise<void> {
    fill(this.said, words.pick);
    const place = await this.actions.pick();
    fill(this.said);
    if (place !== null) await this.decide("move", place);
  }

  private async decide(decision: Decision, to: LatLon | null = null): Promise<void> {
    const { current } = this;
    await this.change(async () => {
      if (current === undefined) return;
      await api.decide(current.id, decision, to);
      current.decision = decision;
      this.go(this.at + 1);
      fill(this.said, words.decided(current.photo, words.decisions[decision]));
    });
  }

  private async undo(): Promise<void> {
    const { current } = this;
    await this.change(async () => {
      if (current === undefined) return;
      await api.undoReview(current.id);
      current.decision = (await api.reviews(current.id)).at(-1)?.decision ?? null;
      this.render();
      fill(this.said, words.undone(current.photo));
    });
  }

  /** One change at a time: a key that is held must not decide on what follows. */
  private async change(how: () => Promise<void>): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      await how();
    } catch (error) {
      fill(this.said, error instanceof api.Refusal ? error.detail : words.wentWrong);
    } finally {
      this.busy = false;
    }
  }
}
