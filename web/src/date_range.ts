// From when to when: two thumbs over the dates that the collections have, and how many are when.

import type { Choices } from "./api";
import { el } from "./dom";
import { words } from "./strings";

/** The first day that counts, and the first that does not any more; null for no bound. */
export interface Dates {
  after: string | null;
  before: string | null;
}

const DAY = 86_400_000;
const dayOf = (date: string): number => Math.floor(Date.parse(date) / DAY);
const dateOf = (day: number): string => new Date(day * DAY).toISOString().slice(0, 10);

/** The slider; null where all photos are of one day, or of no known one. */
export function dateRange(
  { taken, taken_counts }: Choices,
  now: Dates,
  changed: (dates: Dates) => void,
): HTMLElement | null {
  const [first, last] = (taken ?? []).map(dayOf);
  if (first === undefined || last === undefined || !(last > first)) return null;
  const thumb = (id: string, label: string, day: number): HTMLInputElement =>
    el("input", {
      type: "range",
      id,
      min: first,
      max: last,
      value: Math.max(first, Math.min(last, day)),
      "aria-label": label,
      oninput: (event: Event) => told(event.target === from),
      onchange: () =>
        changed({
          after: from.valueAsNumber <= first ? null : dateOf(from.valueAsNumber),
          before: until.valueAsNumber >= last ? null : dateOf(until.valueAsNumber + 1),
        }),
    });
  const from = thumb("taken-from", words.earliest, now.after === null ? first : dayOf(now.after));
  const until = thumb("taken-until", words.latest, now.before === null ? last : dayOf(now.before) - 1);
  const said = el("output", { for: "taken-from taken-until" });
  const most = Math.max(1, ...taken_counts);
  const bars = taken_counts.map((photos) => {
    const bar = el("span", {});
    bar.style.height = `${Math.round((100 * photos) / most)}%`;
    return bar;
  });
  /** One thumb does not pass the other; both say their day. */
  function told(low: boolean): void {
    if (from.valueAsNumber > until.valueAsNumber) {
      if (low) from.value = until.value;
      else until.value = from.value;
    }
    for (const each of [from, until]) each.setAttribute("aria-valuetext", dateOf(each.valueAsNumber));
    said.textContent = words.days(dateOf(from.valueAsNumber), dateOf(until.valueAsNumber));
    const part = (last! - first!) / bars.length;
    for (const [i, bar] of bars.entries()) {
      const inside =
        first! + (i + 1) * part > from.valueAsNumber && first! + i * part <= until.valueAsNumber;
      bar.classList.toggle("inside", inside);
    }
  }
  told(true);
  return el(
    "div",
    { class: "dates", role: "group", "aria-label": words.between },
    el(
      "div",
      { class: "range" },
      el("div", { class: "bars", "aria-hidden": "true", title: words.perSpan(most) }, ...bars),
      from,
      until,
    ),
    said,
  );
}
