/** The store takes its time, so that something else can happen while a session is looked at. */
import { eventually } from "./eventually.ts";
import type { TestServer } from "./test-server.ts";

/** Holds every look-up that `begin` causes until `meanwhile` is over. What was remembered of sessions is too old by then. */
export async function whileLookedUp(
  testServer: TestServer,
  begin: () => unknown,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const { records, clock } = testServer;
  const { get } = records;
  clock.ahead += 61;
  let isLooked = false;
  let goOn = () => {};
  const goesOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  records.get = async (key) => {
    isLooked = true;
    await goesOn;
    return get.call(records, key);
  };
  try {
    begin();
    await eventually("it is looked up", () => isLooked);
    await meanwhile();
  } finally {
    records.get = get;
    goOn();
  }
}

/** The server knows that a client has hung up. */
export async function hangUpNoticed({ log }: TestServer): Promise<void> {
  await eventually("the hang-up is noticed", () =>
    log.some(({ msg, aborted }) => msg === "request" && aborted === true),
  );
}
