// The answer in words and figures, beside the map.

import * as api from "./api";
import type { Answer } from "./api";
import { button, el, fill } from "./dom";
import { position } from "./figures";
import { MODES } from "./map";
import { chances, say } from "./sentence";
import { words } from "./strings";

export interface AnswerActions {
  goTo(lat: number, lon: number): void;
  reveal(): Promise<Node>;
  /** Back from a changed question; null where the answer is as it was recorded. */
  recorded: (() => void) | null;
}

export function answerPanel(answer: Answer, picture: Node, actions: AnswerActions): HTMLElement {
  const said = say(answer);
  const changed =
    actions.recorded &&
    el(
      "p",
      { class: "note" },
      words.unrecorded,
      " ",
      button(words.recordedAnswer, actions.recorded, { class: "link" }),
    );
  return el(
    "section",
    { class: "answer", "aria-label": words.answer },
    el(
      "div",
      { class: "head" },
      picture,
      el(
        "div",
        { class: "sentence", role: "status" },
        el("h1", { elementtiming: "answer" }, said.first), // benchmarks/page.py waits for it
        ...said.then.map((text) => el("p", {}, text)),
      ),
    ),
    el(
      "div",
      { class: "rest" },
      answer.estimate && estimate(answer.estimate, actions),
      changed,
      chanceBars(answer),
      regionList(answer),
      otherPlaces(answer, actions),
      own(actions),
      howItWasFound(answer),
      answer.localization_id !== null && takeAway(answer.localization_id),
    ),
  );
}

function estimate({ lat, lon }: { lat: number; lon: number }, actions: AnswerActions): HTMLElement {
  return el("p", { class: "position" }, button(position(lat, lon), () => actions.goTo(lat, lon), { class: "link" }));
}

function chanceBars(answer: Answer): HTMLElement | null {
  const known = chances(answer);
  if (known.length === 0) return null;
  const bars = known.map(({ km, p }) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.height = `${Math.max(2, Math.round(44 * p))}px`;
    return el(
      "li",
      { "aria-label": words.withinOf(km, p) },
      el("span", { class: "share", "aria-hidden": "true" }, words.percent(p)),
      bar,
      el("span", { class: "km", "aria-hidden": "true" }, words.upTo(km)),
    );
  });
  return el("section", {}, el("h2", {}, words.within), el("ol", { class: "chances" }, ...bars));
}

function regionList(answer: Answer): HTMLElement | null {
  const regions = [...(answer.regions?.features ?? [])].reverse();
  if (regions.length === 0) return null;
  return el(
    "section",
    {},
    el("h2", {}, words.regions),
    el(
      "ul",
      { class: "regions" },
      ...regions.map(({ properties: { level, area_km2 } }) =>
        el(
          "li",
          {},
          el("span", { class: level === 0.5 ? "swatch solid" : "swatch dashed", "aria-hidden": "true" }),
          words.region(level, area_km2),
        ),
      ),
    ),
  );
}

function otherPlaces(answer: Answer, actions: AnswerActions): HTMLElement | null {
  const others = answer.modes.slice(1, MODES).filter(({ mass }) => mass >= 0.005);
  if (others.length === 0) return null;
  const items = others.map(({ lat, lon, mass }, i) => {
    const name = el("span", { class: "name" }, position(lat, lon));
    api
      .placeName(lat, lon, answer.radius_km["50"] ?? 0)
      .then((found) => found && fill(name, found))
      .catch(() => undefined); // its position says it too
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "place", onclick: () => actions.goTo(lat, lon) },
        el("span", { class: "rank", "aria-hidden": "true" }, i + 2),
        name,
        el("span", { class: "share", title: words.place(i + 2, mass) }, words.percent(mass)),
      ),
    );
  });
  return el("section", {}, el("h2", {}, words.places), el("ol", { class: "places" }, ...items));
}

function own(actions: AnswerActions): HTMLElement {
  const said = el("div", { class: "own", role: "status" });
  const ask = button(words.reveal, () => {
    ask.disabled = true;
    actions.reveal().then(
      (found) => fill(said, found),
      (error: unknown) => {
        ask.disabled = false;
        fill(said, error instanceof api.Refusal ? error.detail : words.wentWrong);
      },
    );
  });
  return el("section", { class: "reveal" }, ask, said);
}

function howItWasFound(answer: Answer): HTMLElement {
  const { plan, elapsed_ms, parameters } = answer;
  const strategy = String(plan.strategy ?? "");
  const recall = plan.expected_recall;
  const { total, ...stages } = elapsed_ms;
  const facts: [string, string | null][] = [
    [words.model, answer.model],
    [words.method, `${answer.method}, k ${String(parameters.k ?? "")}`],
    [
      words.calibration,
      answer.calibration_fits === null || answer.calibration === null
        ? words.uncalibrated
        : words.fits[answer.calibration_fits],
    ],
    [
      words.searched,
      `${words.strategies[strategy] ?? strategy}: ${String(plan.reason ?? "")}`,
    ],
    [words.recall, typeof recall === "number" ? words.recallOf(recall) : words.unknown],
    [words.rows, typeof plan.rows_scanned === "number" ? plan.rows_scanned.toLocaleString("en-GB") : null],
    [
      words.time,
      total === undefined
        ? null
        : `${words.elapsed(total)} (${Object.entries(stages)
            .map(([name, ms]) => words.elapsedPart(name, ms))
            .join(", ")})`,
    ],
    [words.filterWas, Object.keys(answer.filter).length > 0 ? JSON.stringify(answer.filter) : null],
    [words.recorded, answer.created_at],
  ];
  const list = facts
    .filter((fact): fact is [string, string] => fact[1] !== null)
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return el(
    "details",
    { class: "found" },
    el("summary", {}, words.found),
    el("dl", {}, ...list),
    answer.localization_id !== null && reproduction(answer.localization_id),
  );
}

function reproduction(id: number): HTMLElement {
  const said = el("p", { role: "status" });
  const ask = button(words.reproduce, () => {
    ask.disabled = true;
    api.reproduce(id).then(
      ({ same, shift_km, changes }) => {
        ask.disabled = false;
        const first = same ? words.same : words.moved(shift_km ?? 0);
        fill(said, changes.length > 0 ? `${first} ${words.changed(changes.join("; "))}` : first);
      },
      (error: unknown) => {
        ask.disabled = false;
        fill(said, error instanceof api.Refusal ? error.detail : words.wentWrong);
      },
    );
  });
  return el("div", {}, ask, said);
}

function takeAway(id: number): HTMLElement {
  const links = Object.entries(words.exports).map(([name, text]) =>
    el("li", {}, el("a", { href: api.exported(id, name), download: true }, text)),
  );
  return el("section", { class: "take" }, el("h2", {}, words.take), el("ul", {}, ...links));
}
