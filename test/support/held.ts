/** A place where work waits to be let go; whoever holds it learns that it came there. */
export function held() {
  let arrive = () => {};
  let letGo = () => {};
  const reached = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const free = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const wait = () => {
    arrive();
    return free;
  };
  return { reached, letGo, wait };
}
