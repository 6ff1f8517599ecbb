// The page as a whole: what is shown, and what leads from one thing to the next.

import * as address from "./address";
import type { Shown, View } from "./address";
import { answerPanel } from "./answer_panel";
import * as api from "./api";
import { Refusal, type Answer, type Asked } from "./api";
import { asked, conditions, none, type Conditions } from "./conditions";
import { button, el, fill, painted } from "./dom";
import { Explore, gallery, nameOf } from "./explore";
import { FilterBar } from "./filters";
import { makeMap, type AnswerMap } from "./map";
import { NeighbourStrip } from "./neighbours";
import { PhotoInput, type Queued } from "./photo_input";
import { Review } from "./review";
import { say } from "./sentence";
import { greatCircleKm } from "./sphere";
import { words } from "./strings";
import { toggleTheme } from "./theme";

/** Milliseconds after the last change of a filter until it is asked: a date is typed digit by digit. */
const PATIENCE_MS = 150;
const AGAIN_MS = 3000;
/** Photos that are offered to who has none. */
const SAMPLES = 6;

/** What a photo at an address is called. */
function nameIn(address: string): string {
  try {
    return decodeURIComponent(new URL(address).pathname.split("/").at(-1) ?? "") || address;
  } catch {
    return address;
  }
}

export class App {
  private readonly panel = el("div", { class: "shown", id: "answer", tabindex: -1 });
  private readonly mapBox = el("div", { class: "map" });
  private readonly legend = el("div", { class: "legend" });
  private readonly main = el("main", {});
  private readonly samples = el("section", { class: "samples" });
  private offering: Promise<void> | null = null;
  private readonly links: Record<"answer" | "explore" | "review", HTMLElement>;
  private readonly input: PhotoInput;
  private readonly strip = new NeighbourStrip({
    pointed: (photo) => this.point(photo),
    leaveOut: (photo) => this.change({ withoutPhotos: [...this.now.withoutPhotos, photo] }),
    leaveOutAuthor: (author) => this.change({ withoutAuthors: [...this.now.withoutAuthors, author] }),
    likeThis: (photo) => this.open({ what: "explore", photo }),
    placeThis: (photo) => void this.placeStored(photo),
    picture: () => this.picture(),
  });
  private readonly filters: FilterBar;
  private readonly explore = new Explore({
    goTo: (lat, lon) => this.map?.goTo(lat, lon, true),
    choose: (photo) => this.open({ what: "explore", photo }),
    placeThis: (photo) => void this.placeStored(photo),
    failed: (error) => this.failed(error),
  });
  private readonly review = new Review({
    show: (id) => this.showReviewed(id),
    pick: () => this.map?.pick() ?? Promise.resolve(null),
    full: () => this.main.classList.toggle("full"),
    failed: (error) => this.failed(error),
  });
  private map: AnswerMap | null = null;

  private readonly queue: Queued[] = [];
  /** What the photos of the queue were answered. */
  private readonly answered = new Map<Queued, Answer>();
  private current: Queued | null = null;
  /** As it was recorded; and what is shown of it, which may be asked in another way. */
  private recorded: Answer | null = null;
  private shown: Answer | null = null;
  /** The photo of the collections that was asked about last, and its answer. */
  private placed: { answer: Answer; photo: number } | null = null;
  private now: Conditions = none();
  /** The answer that is to be shown while reviewing: the last that was asked for. */
  private reviewed: number | null = null;
  /** Whether there is no photo to compare with. */
  private empty = false;
  private pending: AbortController | null = null;
  private patience = 0;

  constructor(
    private readonly status: api.Status,
    session: api.Session | null,
  ) {
    this.input = new PhotoInput(
      (photos) => this.take(photos),
      (photo) => this.choose(photo),
      status.login && session?.may_record === true,
    );
    const link = (text: string, shown: Shown): HTMLElement =>
      el(
        "a",
        {
          href: address.pathOf(shown),
          onclick: ((event: MouseEvent) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return; // into a tab of its own
            event.preventDefault();
            this.open(shown);
          }) as EventListener,
        },
        text,
      );
    this.links = {
      answer: link(words.answer, { what: "start" }),
      explore: link(words.explore, { what: "explore", photo: null }),
      review: link(words.review, { what: "review" }),
    };
    this.main.append(
      el("aside", {}, this.input.element, this.panel),
      el(
        "div",
        { class: "stage" },
        el("div", { class: "ground" }, this.mapBox, this.legend),
        (this.filters = new FilterBar({
          changed: (changed) => this.change(changed),
          draw: (shape) => this.draw(shape),
        })).element,
        this.strip.element,
        this.review.element,
      ),
    );
    document.body.replaceChildren(
      el("a", { class: "skip", href: "#answer" }, words.skip),
      el(
        "header",
        {},
        el("span", { class: "logo" }, words.title),
        el("nav", { "aria-label": words.title }, ...Object.values(this.links)),
        button("◐", () => this.changeTheme(), { "aria-label": words.theme, title: words.theme }),
        session !== null && status.login && button(words.logOut(session.role), () => void this.leave()),
      ),
      this.main,
    );
    addEventListener("popstate", () => this.route(true));
    void this.filters.load().then(
      (known) => {
        this.empty = known.photos === 0;
        if (this.main.dataset.mode === "start") this.start();
      },
      () => undefined, // what it cannot offer, can be typed
    );
    // First all that can be read, then the map, which takes longer.
    void painted().then(() => {
      this.makeMap();
      this.route(false);
    });
  }

  private makeMap(): void {
    this.map = makeMap(
      this.mapBox,
      {
        moved: (at) => address.noteView(at),
        pointed: (photo) => this.point(photo),
        chosen: (photo) => this.chosenOnMap(photo),
        asked: (lat, lon, km) => {
          this.map?.mark(lat, lon);
          void this.attempt(() => this.explore.near(lat, lon, km));
        },
        alike: (lat, lon) => {
          this.map?.mark(lat, lon);
          void this.attempt(() => this.explore.alike(lat, lon));
        },
      },
      this.status.basemap_style,
      address.read().view,
    );
    if (this.map === null) fill(this.mapBox, el("p", { class: "problem" }, words.noMap));
    else this.furnishLegend();
  }

  /** Show what the address says. */
  private route(move: boolean): void {
    const { shown, view } = address.read();
    this.pending?.abort();
    this.main.dataset.mode = shown.what;
    this.map?.explore(shown.what === "explore");
    for (const [name, link] of Object.entries(this.links)) {
      if (name === (shown.what === "start" ? "answer" : shown.what)) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (move && view !== null) this.map?.look(view);
    if (shown.what === "explore") this.enterExplore(shown.photo);
    else if (shown.what === "review") void this.attempt(() => this.enterReview());
    else if (shown.what === "start") this.start();
    else void this.attempt(() => this.openAnswer(shown.id, shown.asked, view));
  }

  private open(shown: Shown): void {
    address.go(shown);
    this.route(false);
  }

  private enterExplore(photo: number | null): void {
    this.map?.show(null, false);
    this.showArea(none());
    this.strip.show(null);
    fill(this.panel, this.explore.element);
    if (photo === null) this.explore.start();
    else void this.attempt(() => this.explore.photo(photo));
  }

  private async enterReview(): Promise<void> {
    this.forget();
    fill(this.panel);
    await this.review.enter();
  }

  private async showReviewed(id: number): Promise<void> {
    this.reviewed = id;
    const answer = await api.readAnswer(id);
    if (this.main.dataset.mode !== "review" || this.reviewed !== id) return;
    this.current = this.photoOf(id);
    this.recorded = this.shown = answer;
    this.map?.show(answer, true);
    fill(this.panel, this.described(answer, answer));
  }

  private start(): void {
    this.forget();
    this.filters.show(this.now);
    fill(
      this.panel,
      this.samples,
      el("p", { class: "note" }, button(words.noPhoto, () => this.open({ what: "explore", photo: null }), { class: "link" })),
    );
    if (this.empty) this.tell(words.emptyTitle, words.emptyHelp);
    else this.offering ??= this.offerSamples();
  }

  /** Some photos to try with, for who has none at hand. */
  private async offerSamples(): Promise<void> {
    const photos = await api.samples(SAMPLES).catch(() => []);
    if (photos.length === 0) return;
    fill(
      this.samples,
      el("h2", {}, words.samples),
      gallery(
        photos.map((photo) => ({ id: photo.id, name: words.sample(nameOf(photo)) })),
        (photo) => void this.placeStored(photo),
      ),
    );
  }

  private forget(): void {
    this.current = null;
    this.recorded = this.shown = null;
    this.input.show(this.queue, null);
    this.strip.show(null);
    this.map?.show(null, false);
  }

  // Photos and their answers.

  private take(given: (File | string)[]): void {
    const most = this.status.max_upload_bytes;
    for (const one of given) {
      const source =
        typeof one === "string"
          ? { name: nameIn(one), file: null, address: one, url: null }
          : { name: one.name, file: one, address: null, url: URL.createObjectURL(one) };
      const photo: Queued = { ...source, state: "waiting", note: words.waiting };
      this.queue.push(photo);
      if (photo.file !== null && photo.file.size > most) {
        this.fail(photo, words.tooLarge(photo.name, photo.file.size, most));
      }
    }
    void this.work();
  }

  /** Ask the waiting photos one after the other; the first is shown as soon as it is answered. */
  private async work(): Promise<void> {
    if (this.queue.some(({ state }) => state === "asking")) return;
    let first = true;
    for (;;) {
      const photo = this.queue.find(({ state }) => state === "waiting");
      if (photo === undefined) return;
      photo.state = "asking";
      photo.note = words.asking;
      if (first) this.choose(photo);
      this.input.show(this.queue, this.current);
      try {
        const how = asked(this.now);
        const answer =
          photo.file === null
            ? await api.localizeUrl(photo.address!, how, this.input.keeps)
            : await api.localize(photo.file, how, this.input.keeps);
        photo.url ??= answer.picture ?? null;
        this.answered.set(photo, answer);
        photo.state = "answered";
        photo.note = say(answer).first;
        if (this.current === photo) this.choose(photo);
      } catch (error) {
        const refusal = error instanceof Refusal ? error : null;
        const unreadable = refusal?.status === 422;
        const nothing = refusal?.reason === "unreadable" && photo.file === null;
        if (nothing) this.fail(photo, words.noneThere(photo.name, refusal.detail));
        else this.fail(photo, unreadable ? words.notAPhoto(photo.name) : (refusal?.detail ?? words.wentWrong));
        if (refusal?.gone) this.serverGone();
      }
      this.input.show(this.queue, this.current);
      first = false;
    }
  }

  private fail(photo: Queued, note: string): void {
    photo.state = "failed";
    photo.note = note;
    this.choose(photo);
  }

  /** Show a photo of the queue, and its answer as soon as there is one. */
  private choose(photo: Queued): void {
    this.current = photo;
    this.input.show(this.queue, photo);
    const answer = this.answered.get(photo);
    if (answer !== undefined) {
      if (answer.localization_id !== null) {
        address.go({ what: "answer", id: answer.localization_id, asked: null });
      }
      this.present(answer, answer, true);
      return;
    }
    this.main.dataset.mode = "answer";
    this.map?.explore(false);
    if (photo.state === "failed") {
      this.recorded = this.shown = null;
      this.strip.show(null);
      this.map?.show(null, false);
      this.tell(words.failedPhoto(photo.name), photo.note);
      return;
    }
    this.map?.faint();
    fill(this.panel, this.picture(), el("p", { class: "busy", role: "status" }, words.asking));
  }

  private async openAnswer(id: number, by: Asked | null, view: View | null): Promise<void> {
    if (this.recorded?.localization_id !== id) {
      fill(this.panel, el("p", { class: "busy", role: "status" }, words.asking));
      this.current = this.photoOf(id);
      this.recorded = await api.readAnswer(id);
    }
    const { recorded } = this;
    if (by === null) {
      this.present(recorded, recorded, view === null);
      return;
    }
    this.now = conditions(by);
    try {
      await this.askAgain(by, view === null);
    } catch (error) {
      // A filter that names what this role may not see, or what is gone, is not told apart.
      if (!(error instanceof Refusal && (error.status === 404 || error.status === 400))) throw error;
      this.present(recorded, recorded, view === null);
      this.note(words.linkHides);
      return;
    }
    if (this.status.login) this.note(words.yourRights);
  }

  /** Say something of the answer that is shown, before all else that is said of it. */
  private note(text: string): void {
    this.panel.querySelector(".rest")?.prepend(el("p", { class: "note", role: "status" }, text));
  }

  private photoOf(id: number): Queued | null {
    for (const [photo, answer] of this.answered) if (answer.localization_id === id) return photo;
    return null;
  }

  private async placeStored(photo: number): Promise<void> {
    fill(this.panel, el("p", { class: "busy", role: "status" }, words.asking));
    await this.attempt(async () => {
      const answer = await api.localizeStored(photo, {});
      this.current = null;
      this.placed = { answer, photo };
      const id = answer.localization_id;
      if (id !== null) address.go({ what: "answer", id, asked: null });
      this.main.dataset.mode = "answer";
      this.map?.explore(false);
      this.present(answer, answer, true);
    });
  }

  private present(recorded: Answer, answer: Answer, fit: boolean): void {
    this.recorded = recorded;
    this.shown = answer;
    this.main.dataset.mode = "answer";
    this.now = conditions(answer);
    fill(this.panel, this.described(answer, recorded));
    // The words are read while the rest is drawn, which takes longer.
    this.main.setAttribute("aria-busy", "true");
    void painted().then(() => {
      if (this.shown !== answer) return;
      this.filters.show(this.now);
      this.strip.show(answer);
      this.map?.show(answer, fit);
      this.showArea(this.now);
      this.main.removeAttribute("aria-busy");
    });
    const said = say(answer);
    this.mapBox.setAttribute("aria-label", words.mapOf([said.first, ...said.then].join(" ")));
    document.title = `${said.first} ${words.title}`;
    if (answer.estimate === null) void this.blame(answer);
  }

  private described(answer: Answer, recorded: Answer): HTMLElement {
    const id = recorded.localization_id;
    const back = (): void => {
      if (id === null) this.present(recorded, recorded, false);
      else this.open({ what: "answer", id, asked: null });
    };
    return answerPanel(answer, this.picture(), {
      goTo: (lat, lon) => this.map?.goTo(lat, lon),
      reveal: () => this.reveal(),
      recorded: answer === recorded ? null : back,
    });
  }

  /** Where nothing passes: which condition alone empties it. */
  private async blame(answer: Answer): Promise<void> {
    const found = await api.check(answer.filter).catch(() => null);
    if (found === null || this.shown !== answer) return;
    if (found.of === 0) {
      this.tell(words.emptyTitle, words.emptyHelp);
      return;
    }
    const lines = found.conditions
      .filter(({ without }) => without > 0)
      .map(({ text, without }) => el("li", {}, words.emptied(text, without)));
    this.panel.querySelector(".sentence")?.append(el("ul", {}, ...lines));
  }

  // Asking the same photo in another way.

  private change(by: Partial<Conditions>): void {
    this.now = { ...this.now, ...by };
    this.filters.show(this.now);
    this.showArea(this.now);
    const { recorded } = this;
    if (recorded === null) return; // it is asked by when a photo comes
    clearTimeout(this.patience);
    this.patience = window.setTimeout(() => {
      const how = asked(this.now);
      const id = recorded.localization_id;
      const same = JSON.stringify(how) === JSON.stringify(asked(conditions(recorded)));
      if (id !== null) address.go({ what: "answer", id, asked: same ? null : how });
      this.pending?.abort();
      if (same) this.present(recorded, recorded, false);
      else void this.attempt(() => this.askAgain(how, false));
    }, PATIENCE_MS);
  }

  private async askAgain(how: Asked, fit: boolean): Promise<void> {
    const { recorded } = this;
    if (recorded === null) return;
    this.pending?.abort();
    const pending = (this.pending = new AbortController());
    this.map?.faint();
    this.panel.classList.add("faint");
    try {
      const answer = await api.again(recorded, how, pending.signal);
      if (!pending.signal.aborted) this.present(recorded, answer, fit);
    } finally {
      if (this.pending === pending) this.panel.classList.remove("faint");
    }
  }

  /** Draw the area of a filter, and the outline of its country. */
  private showArea({ area, country }: Conditions): void {
    this.map?.showArea(area, null);
    if (country === null || this.map === null) return;
    api.outline(country).then(
      (outline) => {
        if (this.now.country === country) this.map?.showArea(this.now.area, outline);
      },
      () => undefined, // that there is no such country, the filter says
    );
  }

  private async draw(shape: "rectangle" | "circle" | "polygon"): Promise<Conditions["area"]> {
    if (this.map === null) return null;
    this.pending?.abort();
    const { drawn } = await import("./drawing");
    const ending = (this.pending = new AbortController());
    this.map.listening = false;
    try {
      return await drawn(this.map.drawable, shape, ending.signal);
    } finally {
      this.map.listening = true;
    }
  }

  // What belongs to an answer.

  private picture(): HTMLElement {
    const { current, recorded } = this;
    const name = current?.name ?? recorded?.photo.split("/").at(-1) ?? "";
    const src = this.pictureAddress();
    const none = el("p", { class: "query missing" }, name, el("br"), current === null && words.noPicture);
    if (src === null) return none;
    const alt = current === null ? words.photoAsked(name) : words.yourPhoto(name);
    const image = el("img", {
      class: "query",
      src,
      alt,
      decoding: "async",
      onerror: () => image.replaceWith(none),
    });
    return image;
  }

  /** Where the picture of the photo lies that was asked about, if anywhere. */
  private pictureAddress(): string | null {
    const { current, recorded, placed } = this;
    if (current !== null) return current.url;
    if (placed !== null && placed.answer === recorded) return api.thumbnail(placed.photo, 1024);
    const id = recorded?.localization_id ?? null;
    return id === null ? null : api.pictureOf(id);
  }

  /** Show the photo's own position: what it says to the answer, and what can be made of it. */
  private async reveal(): Promise<Node> {
    const { shown, recorded } = this;
    const file = this.current?.file ?? null;
    const own = file === null ? null : await api.ownPosition(file);
    if (own === null) return el("p", {}, words.noOwn);
    this.map?.reveal(own);
    const text = shown?.estimate ? words.own(greatCircleKm(shown.estimate, own)) : words.ownPosition;
    const id = recorded?.localization_id ?? null;
    const said = el("div", {}, el("p", {}, text));
    if (id === null || shown !== recorded) return said;
    const note = el("p", { role: "status" });
    const decide = (decision: "move" | "accept", done: string) => (): void =>
      void this.attempt(async () => {
        await api.decide(id, decision, decision === "move" ? own : null);
        const on = (): void => this.open({ what: "review" });
        fill(note, done, " ", button(words.toReview, on, { class: "link" }));
      });
    said.append(
      el(
        "div",
        { class: "actions" },
        button(words.useOwn, decide("move", words.usedOwn)),
        shown?.estimate && button(words.oursIsBetter, decide("accept", words.usedOurs)),
      ),
      note,
    );
    return said;
  }

  private point(photo: number | null): void {
    this.map?.point(photo ?? this.strip.chosen);
    this.strip.point(photo);
  }

  private chosenOnMap(photo: number): void {
    if (this.main.dataset.mode === "explore") this.open({ what: "explore", photo });
    else this.strip.choose(photo);
  }

  private furnishLegend(): void {
    const slider = el("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      value: 0.8,
      oninput: () => this.map?.setOpacity(Number(slider.value)),
    });
    this.legend.append(
      el("label", {}, words.opacity, slider),
      button(words.showAll, () => this.map?.fit()),
    );
  }

  private changeTheme(): void {
    toggleTheme();
    this.map?.recolour();
  }

  private async leave(): Promise<void> {
    await api.logOut().catch(() => undefined);
    location.assign("/");
  }

  // What goes wrong.

  private failed(error: unknown): void {
    void this.attempt(() => Promise.reject(error));
  }

  private async attempt(what: () => Promise<void>): Promise<void> {
    try {
      await what();
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return;
      const refusal = error instanceof Refusal ? error : null;
      const { shown } = address.read();
      if (refusal?.gone) this.serverGone();
      else if (refusal?.status === 401) location.reload();
      else if (refusal?.status === 404 && shown.what === "answer") {
        this.forget();
        this.tell(words.noAnswer(shown.id), words.noAnswerHelp);
      } else if (refusal?.status === 403) this.tell(words.notAllowed, refusal.detail);
      else this.tell(refusal?.detail ?? words.wentWrong, refusal?.remedy ?? "");
    }
  }

  private tell(title: string, help: string): void {
    fill(this.panel, el("div", { class: "state", role: "alert" }, el("h1", {}, title), el("p", {}, help)));
  }

  /** Say so until it answers; then go on where it was. */
  private serverGone(): void {
    const { panel } = this;
    if (panel.querySelector(".gone")) return;
    panel.prepend(el("div", { class: "state gone", role: "alert" }, el("p", {}, words.gone)));
    const look = async (): Promise<void> => {
      try {
        await api.status();
        panel.querySelector(".gone")?.remove();
        for (const photo of this.queue) {
          if (photo.state === "failed" && photo === this.current) photo.state = "waiting";
        }
        void this.work();
        if (this.current === null) this.route(false);
      } catch {
        setTimeout(() => void look(), AGAIN_MS);
      }
    };
    setTimeout(() => void look(), AGAIN_MS);
  }
}
