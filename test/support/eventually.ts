/** Waiting for what happens in another process, or behind the test's back: asked again and again, never slept for. */
import { setTimeout as delay } from "node:timers/promises";

/** @returns what `look` found, once that is neither undefined nor false */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = 30,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  let pauseMs = 2;
  while (performance.now() < end) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await delay(pauseMs);
    pauseMs = Math.min(2 * pauseMs, 20);
  }
  throw new Error(`Waited ${seconds} s in vain for: ${what}`);
}
