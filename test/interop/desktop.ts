/**
 * A computer account for the programs of others: a home folder of its own, and a browser with a user who signs in. On
 * Linux they open a browser through xdg-open, which outside of a desktop session takes the one that BROWSER names.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser, type Page, signIn } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";

export interface Desktop {
  /** All that a program is to see of the environment. */
  environment: { PATH: string; HOME: string; BROWSER: string };
  /** How often a program opened the browser. */
  opened(): Promise<number>;
  /** The user's part, once a program opens the browser: the whole way, back to the program's own listener. */
  signIn(): Promise<void>;
  close(): Promise<void>;
}

export async function openDesktop(): Promise<Desktop> {
  const home = await mkdtemp(join(tmpdir(), "desktop-"));
  const browser = join(home, "browser");
  const addresses = join(home, "addresses");
  await writeFile(addresses, "");
  await writeFile(browser, `#!/bin/sh\nprintf '%s\\n' "$1" >> "${addresses}"\n`, { mode: 0o755 });
  const opened = async () => (await readFile(addresses, "utf8")).split("\n").slice(0, -1);
  let seen = 0;

  return {
    environment: { PATH: process.env.PATH ?? "", HOME: home, BROWSER: browser },
    opened: async () => (await opened()).length,
    async signIn() {
      const address = await eventually("a program opens the browser", async () => (await opened())[seen]);
      seen++;
      const listener = new URL(address).searchParams.get("redirect_uri") ?? "";
      const user = new Browser({ stopAt: (url) => url.href.startsWith(listener) });
      const callback = await signIn(user, address, { login: "alice" });
      const page = await arrive(user, callback);
      if (page.status !== 200) throw new Error(`The program answered ${page.status}: ${page.body}`);
    },
    close: () => rm(home, { recursive: true, force: true }),
  };
}

/** mcp-remote opens the browser before it listens; a person is never that fast. */
function arrive(user: Browser, callback: URL): Promise<Page> {
  return eventually("the program listens for its user", () =>
    user.get(callback).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") return undefined;
      throw error;
    }),
  );
}
