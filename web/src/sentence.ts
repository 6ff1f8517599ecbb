// An answer in words, before its numbers.

import type { Answer } from "./api";
import { position } from "./figures";
import { words } from "./strings";

/** The sentence a person can repeat, then what else is to be known of it. */
export interface Said {
  first: string;
  then: string[];
}

/** A distance within which at least half of such answers are, else the largest known. */
export function tellingDistance(answer: Answer): { km: number; p: number } | null {
  const known = chances(answer);
  return known.find(({ p }) => p >= 0.5) ?? known.at(-1) ?? null;
}

/** The calibrated probabilities, by distance; none where the calibration does not hold. */
export function chances(answer: Answer): { km: number; p: number }[] {
  if (answer.calibration_fits === "no") return [];
  return Object.entries(answer.probability_within_km ?? {})
    .map(([km, p]) => ({ km: Number(km), p }))
    .sort((a, b) => a.km - b.km);
}

export function say(answer: Answer): Said {
  const { estimate } = answer;
  if (estimate === null) return { first: words.nothing, then: [] };
  const near = words.near(answer.place, position(estimate.lat, estimate.lon));
  const then: string[] = [];
  let first = near;
  if (answer.low_information !== null) {
    first = words.lowInformation(answer.low_information);
    then.push(words.absentGuess(near));
  } else if (answer.confident === false) {
    first = words.absent;
    then.push(words.absentGuess(near));
  }
  const telling = tellingDistance(answer);
  if (telling !== null) then.push(words.oftenWithin(telling.p, telling.km));
  else if (answer.agreement !== null) then.push(words.agree(answer.agreement));
  if (answer.calibration_fits === "widened" || answer.calibration_fits === "no") {
    then.push(words.fits[answer.calibration_fits]);
  }
  return { first, then };
}
