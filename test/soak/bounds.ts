/** What keeps a long run from lasting for ever, and its settings from being nonsense. */

/** Bounded, whatever hangs. SIGTERM, because the processes that were started are to end as well. */
export function boundedBy(milliseconds: number): void {
  setTimeout(() => {
    console.error("The run did not come to its end");
    process.kill(process.pid, "SIGTERM");
  }, milliseconds).unref();
}

export function number(name: string, fallback: number): number {
  const value = Number(process.env[name] || fallback);
  if (!Number.isFinite(value)) throw new Error(`${name} must be a number`);
  return value;
}
