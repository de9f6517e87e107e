import { eventually } from "./eventually.ts";

/** A place where work waits to be let go; whoever holds it learns that it came there. */
export function held() {
  let isReached = false;
  let letGo = () => {};
  const free = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const wait = () => {
    isReached = true;
    return free;
  };
  // Work that takes another way would never come: its test fails, and does not wait for ever.
  const reached = () => eventually("what is to be held up", () => isReached);
  return { reached, letGo, wait };
}
