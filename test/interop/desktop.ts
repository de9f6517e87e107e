/**
 * A computer account for the programs of others: a home folder of its own, and a browser with a user who signs in. On
 * Linux they open a browser through xdg-open, which outside of a desktop session takes the one that BROWSER names.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Browser, type Page } from "../../dev/client/browser.ts";
import { findLink, textOf } from "../../dev/client/html.ts";
import { eventually } from "../support/eventually.ts";
import { fillInForms, type SignIn } from "../support/sign-in.ts";

export interface Desktop {
  /** All that a program is to see of the environment. */
  environment: { PATH: string; HOME: string; BROWSER: string };
  /** A file in the home folder, such as somebody writes by hand. */
  write(file: string, content: string): Promise<void>;
  /** How often a program opened the browser. */
  opened(): Promise<number>;
  /** The user's part, once a program opens the browser: the whole way, back to the program's own listener. */
  signIn(): Promise<void>;
  /** The same, up to where the browser would leave the server and the provider: an error page, or the way back. */
  visit(choices?: SignIn): Promise<Visit>;
  close(): Promise<void>;
}

export interface Visit {
  /** What the user reads, without the markup. */
  text: string;
  /** Back to the program, where the server sends the browser or by the link on the page: what the program shows. */
  goBack(): Promise<Page>;
}

export async function openDesktop(): Promise<Desktop> {
  const home = await mkdtemp(join(tmpdir(), "desktop-"));
  const browser = join(home, "browser");
  const addresses = join(home, "addresses");
  await writeFile(addresses, "");
  await writeFile(browser, `#!/bin/sh\nprintf '%s\\n' "$1" >> "${addresses}"\n`, { mode: 0o755 });
  const opened = async () => (await readFile(addresses, "utf8")).split("\n").slice(0, -1);
  let seen = 0;

  async function visit(choices?: SignIn): Promise<Visit> {
    const address = await eventually("a program opens the browser", async () => (await opened())[seen]);
    seen++;
    const listener = new URL(address).searchParams.get("redirect_uri") ?? "";
    const user = new Browser({ stopAt: (url) => url.href.startsWith(listener) });
    const page = await fillInForms(user, address, choices);
    return {
      text: textOf(page.body),
      goBack() {
        const back = page.redirectedTo?.href ?? findLink(page.body, "Back to your application");
        if (back === undefined) throw new Error(`No way back from ${page.url}: ${textOf(page.body)}`);
        return arrive(user, new URL(back));
      },
    };
  }

  return {
    environment: { PATH: process.env.PATH ?? "", HOME: home, BROWSER: browser },
    async write(file, content) {
      await mkdir(dirname(join(home, file)), { recursive: true });
      await writeFile(join(home, file), content);
    },
    opened: async () => (await opened()).length,
    visit,
    async signIn() {
      const page = await (await visit()).goBack();
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
