/** When people come during the hour: decided before it begins, so that no slow answer keeps anybody from coming (open loop). */

export interface Arrival {
  /** Milliseconds after the beginning. */
  atMs: number;
  /** Who signs in has no session yet; who visits has one since yesterday, whose access token ended overnight. */
  what: "sign-in" | "visit";
  /** A number of theirs, from 0. */
  person: number;
}

export interface Hour {
  people: number;
  /** Milliseconds: the hour, compressed. */
  durationMs: number;
}

/** Of the people: those whose session is over. A refresh token is good for thirty days. */
export const NEW_PART = 1 / 30;
/** Everybody of them, and this part of the others, comes in the morning: the first part of the hour, most in its middle. */
const IN_THE_MORNING = 0.4;
const MORNING = 0.4;

/** @returns in the order of time */
export function arrivals({ people, durationMs }: Hour): Arrival[] {
  const newcomers = Math.round(people * NEW_PART);
  const morning = () => ((Math.random() + Math.random()) / 2) * MORNING * durationMs;
  return Array.from({ length: people }, (_, person): Arrival => {
    if (person < newcomers) return { atMs: morning(), what: "sign-in", person };
    const early = Math.random() < IN_THE_MORNING;
    return { atMs: early ? morning() : Math.random() * durationMs, what: "visit", person };
  }).sort((a, b) => a.atMs - b.atMs);
}
