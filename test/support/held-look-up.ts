/** The store takes its time, so that something else can happen while a session is looked at. */
import { eventually } from "./eventually.ts";
import { held } from "./held.ts";
import type { TestServer } from "./test-server.ts";

/** Holds every look-up that `begin` causes until `meanwhile` is over. What was remembered of sessions is too old by then. */
export async function whileLookedUp(
  testServer: TestServer,
  begin: () => unknown,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const { records, clock } = testServer;
  const { get } = records;
  const lookUp = held();
  clock.ahead += 61;
  records.get = async (key) => {
    await lookUp.wait();
    return get.call(records, key);
  };
  try {
    begin();
    await lookUp.reached();
    await meanwhile();
  } finally {
    records.get = get;
    lookUp.letGo();
  }
}

/** The server knows that a client has hung up. */
export async function hangUpNoticed({ log }: TestServer): Promise<void> {
  await eventually("the hang-up is noticed", () =>
    log.some(({ msg, aborted }) => msg === "request" && aborted === true),
  );
}
