/**
 * Every error that a person can be shown, in a real browser: it says which one it is, leads somewhere, names what to tell the
 * operator, and fits the smallest phone. And the way back to the application, by the link and by itself.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import express from "express";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { OAuthError, UnavailableError } from "../../src/oauth/errors.ts";
import { pageErrors } from "../../src/pages/error-handler.ts";
import { createPages } from "../../src/pages/shell.ts";
import { fetchFrom, type Site, sendJson, silent, startSite } from "../clients/support.ts";
import {
  launchChromium,
  SIZES,
  SMALLEST,
  scrollsSideways,
  skipWithoutChromium,
} from "../support/chromium.ts";
import { freePort } from "../support/free-port.ts";
import { authorizeUrl, register } from "../support/oauth-client.ts";
import {
  ALICE,
  BOB,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  useTestServer,
} from "../support/test-server.ts";

/** Where the way on leads: to the page about the server, to the waiting application, to the same step, or a page back. */
type WayOn = "home" | "same request" | "application" | "again" | "page before";

interface Expected {
  title: string;
  wayOn: WayOn;
}

const titles = new Set(
  [
    ...readFileSync(new URL("../../src/pages/error-page.ts", import.meta.url), "utf8").matchAll(
      /\btitle: "([^"]+)"/g,
    ),
  ].map(([, title = ""]) => title),
);
const seen = new Set<string>();

describe("every error page in a real browser", { skip: skipWithoutChromium() }, () => {
  let site: Site;
  let browser: Browser;
  let listener: Server;
  let redirectUri: string;
  const testServer = useTestServer(async () => {
    site = await startSite((_req, res) => sendJson(res, {}));
    return {
      // Its own document is not one, and no other host is there.
      safeFetch: (options) =>
        fetchFrom(site.ca, {
          ...options,
          async lookup(host) {
            if (host === "nowhere.example") throw new Error(`queryA ENOTFOUND ${host}`);
            return [{ address: "127.0.0.1", family: 4 }];
          },
        }),
      environment: { ALLOWED_EMAIL_DOMAINS: "example.com", CLIENT_DOMAINS_DENIED: "denied.example" },
      users: [ALICE, { ...BOB, email: "bob@other.example" }],
    };
  });
  before(async () => {
    browser = await launchChromium();
    listener = createServer(
      (_req, res) => void res.setHeader("content-type", "text/html").end("<h1>Back at the client</h1>"),
    );
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    redirectUri = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`;
  });
  after(async () => {
    await browser.close();
    listener.closeAllConnections();
    listener.close();
    await site.close();
  });

  /** Of which nobody knows whose it is. */
  const onTheWeb = () => register(testServer.baseUrl, { redirect_uris: ["https://client.example/callback"] });

  /** A page on which nothing may be blocked by its own policy. */
  async function newPage(context?: BrowserContext): Promise<{ page: Page; problems: string[] }> {
    const page = await (context ?? (await browser.newContext({ viewport: SIZES.desktop }))).newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => void problems.push(error.message));
    page.on("console", (message) => {
      // Chromium's word for every answer that is an error.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
        problems.push(message.text());
    });
    return { page, problems };
  }

  /** What is true of all of them. */
  async function judge(page: Page, { title, wayOn }: Expected, log: TestServer["log"]): Promise<void> {
    await page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();
    seen.add(title);
    const text = await page.locator("main").innerText();
    assert.doesNotMatch(text, /undefined|\[object/);
    // The names of parameters are for who writes applications, and stand among the details.
    const forPeople = await page.locator("main > :not(.codes, .warn)").allInnerTexts();
    assert.doesNotMatch(forPeople.join(), /[a-z]_[a-z]/);
    const [, id] = /tell them this request id: (\S+)/.exec(text) ?? [];
    const line = log.find(({ requestId }) => id !== undefined && requestId === id);
    assert.ok(line, `the log has ${id}`);
    assert.ok(text.includes(String(line.reason)), `${line.reason} is what the page says: ${text}`);

    await page.setViewportSize(SMALLEST);
    assert.equal(await scrollsSideways(page), false, text);
    await page.screenshot({ path: `screenshots/error-${line.reason}-smallest.png`, fullPage: true });
    await page.setViewportSize(SIZES.desktop);
    await follow(page, wayOn);
  }

  async function follow(page: Page, wayOn: WayOn): Promise<void> {
    const button = (name: string | RegExp) => page.locator(".back").getByRole("link", { name });
    if (wayOn === "page before") {
      await page.getByText("go back one page").waitFor();
      await page.goBack();
      await page.getByRole("button").first().waitFor();
    } else if (wayOn === "home") {
      await button("About this server").click();
      await page.waitForURL(`${new URL(page.url()).origin}/`);
    } else if (wayOn === "same request") {
      await button("Start the sign-in again").click();
      await page.getByRole("button", { name: "Approve" }).waitFor();
    } else if (wayOn === "again") {
      const [answer] = await Promise.all([page.waitForResponse(/./), button("Try again").click()]);
      assert.ok(answer.status() > 0);
    } else {
      const href = await button(/^Back to /).getAttribute("href");
      assert.match(href ?? "", /[?&]error=[a-z_]+&error_description=[^&]+.*&iss=/);
      if (!href?.startsWith(redirectUri)) return;
      await button(/^Back to /).click();
      await page.getByRole("heading", { name: "Back at the client" }).waitFor();
    }
  }

  async function visit(name: string, url: string, expected: Expected, log = testServer.log): Promise<void> {
    const { page, problems } = await newPage();
    await page.goto(url);
    await page.screenshot({ path: `screenshots/error-${name}.png`, fullPage: true });
    await judge(page, expected, log);
    assert.deepEqual(problems, []);
    await page.context().close();
  }

  const unknown = { title: "Unknown application", wayOn: "home" } as const;
  const notChecked = { title: "This application could not be checked", wayOn: "again" } as const;
  const unknownPlace = { title: "This sign-in would lead to an unknown place", wayOn: "home" } as const;
  const wrongRequest = {
    title: "An application asked for something wrong",
    wayOn: "application",
  } as const;
  const notUnderstood = { title: "This request was not understood", wayOn: "home" } as const;

  for (const [reason, expected, url] of [
    ["unknown_client", unknown, () => authorizeUrl(testServer.baseUrl, { client_id: "nobody" })],
    ["upstream_client_id", unknown, () => authorizeUrl(testServer.baseUrl, { client_id: "proxy" })],
    ["no_client_id", unknown, () => `${testServer.baseUrl}/authorize`],
    [
      "domain_denied",
      { title: "This application is not accepted here", wayOn: "home" },
      () => authorizeUrl(testServer.baseUrl, { client_id: "https://denied.example/client.json" }),
    ],
    [
      "unreachable",
      notChecked,
      () => authorizeUrl(testServer.baseUrl, { client_id: "https://nowhere.example/client.json" }),
    ],
    [
      "invalid_document",
      notChecked,
      () => authorizeUrl(testServer.baseUrl, { client_id: site.url("/it.json") }),
    ],
    [
      "unregistered_redirect_uri",
      unknownPlace,
      async () =>
        authorizeUrl(testServer.baseUrl, await onTheWeb(), { redirect_uri: "https://evil.example/callback" }),
    ],
    [
      "no_redirect_uri",
      unknownPlace,
      async () => {
        const redirect_uris = ["https://client.example/1", "https://client.example/2"];
        const client = await register(testServer.baseUrl, { redirect_uris });
        return authorizeUrl(testServer.baseUrl, client, { redirect_uri: undefined });
      },
    ],
    ...Object.entries({
      request_object: { request: "e30.e30." },
      missing_response_type: { response_type: undefined },
      unsupported_response_type: { response_type: "token" },
      unsupported_response_mode: { response_mode: "fragment" },
      missing_pkce: { code_challenge: undefined },
      unsupported_pkce: { code_challenge_method: "plain" },
      foreign_resource: { resource: "https://elsewhere.example/mcp" },
      malformed_scope: { scope: 'weather:"read"' },
    }).map(
      ([reason, parameters]) =>
        [
          reason,
          wrongRequest,
          async () =>
            authorizeUrl(testServer.baseUrl, await onTheWeb(), {
              redirect_uri: "https://client.example/callback",
              ...parameters,
            }),
        ] as const,
    ),
    [
      "prompt_none",
      { title: "You have to be asked first", wayOn: "application" },
      async () =>
        authorizeUrl(testServer.baseUrl, await onTheWeb(), {
          redirect_uri: "https://client.example/callback",
          prompt: "none",
        }),
    ],
    ["repeated_parameter", notUnderstood, () => `${testServer.baseUrl}/auth/callback?state=a&state=b`],
    [
      "unknown_state",
      { title: "This sign-in is over", wayOn: "home" },
      () => `${testServer.baseUrl}/auth/callback?state=${"x".repeat(43)}&code=y`,
    ],
    ["unknown_path", { title: "Page not found", wayOn: "home" }, () => `${testServer.baseUrl}/nothing`],
    [
      "wrong_method",
      { title: "This page cannot be opened by itself", wayOn: "home" },
      () => `${testServer.baseUrl}/consent`,
    ],
  ] as Array<[string, Expected, () => string | Promise<string>]>)
    test(`${reason}: ${expected.title}`, async () => visit(reason, await url(), expected));

  /** A page of a flow, however the browser came there. */
  async function judged(
    name: string,
    { page, problems }: { page: Page; problems: string[] },
    expected: Expected,
    log = testServer.log,
  ): Promise<void> {
    await page.getByRole("heading", { level: 1, name: expected.title, exact: true }).waitFor();
    await page.screenshot({ path: `screenshots/error-${name}.png`, fullPage: true });
    await judge(page, expected, log);
    assert.deepEqual(problems, []);
    await page.context().close();
  }

  async function openConsent(
    of = testServer,
    redirect = redirectUri,
  ): Promise<{ page: Page; problems: string[] }> {
    const opened = await newPage();
    const client = await register(of.baseUrl, { redirect_uris: [redirect] });
    await opened.page.goto(authorizeUrl(of.baseUrl, client, { redirect_uri: redirect }));
    return opened;
  }

  async function approve(page: Page, name: RegExp): Promise<void> {
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByRole("button", { name }).click();
  }

  test("a consent form that was open for too long", async () => {
    const opened = await openConsent();
    testServer.clock.ahead += 86_400;
    await opened.page.getByRole("button", { name: "Approve" }).click();
    await judged("too-long", opened, { title: "The sign-in took too long", wayOn: "home" });
  });

  test("a consent form of another browser, one that lacks something, and one that another site sends", async () => {
    const form = await (await openConsent()).page.content();
    const stranger = await newPage();
    await stranger.page.goto(testServer.baseUrl);
    await stranger.page.setContent(form);
    stranger.problems.length = 0; // its own page, and not this server's
    await stranger.page.getByRole("button", { name: "Approve" }).click();
    const title = "This sign-in belongs to another browser";
    await judged("another-browser", stranger, { title, wayOn: "same request" });

    const damaged = await openConsent();
    await damaged.page.evaluate("document.querySelector('input[name=request]').remove()");
    await damaged.page.getByRole("button", { name: "Approve" }).click();
    await judged("damaged", damaged, notUnderstood);

    const elsewhere = await newPage();
    await elsewhere.page.goto(redirectUri);
    await elsewhere.page.setContent(
      `<form method="post" action="${testServer.baseUrl}/logout"><button>Win a prize</button></form>`,
    );
    await elsewhere.page.getByRole("button").click();
    await judged("another-site", elsewhere, { title: "This was sent by another site", wayOn: "home" });
  });

  test("somebody to whom the server is not open", async () => {
    const opened = await openConsent();
    await approve(opened.page, /^Bob/);
    const expected = { title: "This server is not open to you", wayOn: "application" } as const;
    await judged("not-admitted", opened, expected);
  });

  test("the provider refuses: for an application, and at /connections", async () => {
    const refused = async (opened: { page: Page; problems: string[] }, button: string) => {
      const { page } = opened;
      const asked = page.waitForRequest((each) =>
        each.url().startsWith(`${testServer.identityProvider.issuer}/auth?`),
      );
      await page.getByRole("button", { name: button, exact: true }).click();
      const state = new URL((await asked).url()).searchParams.get("state") ?? "";
      await page.getByRole("button", { name: /^Alice/ }).waitFor();
      const answer = { state, iss: testServer.identityProvider.issuer, error: "access_denied" };
      const description = { error_description: "User is not assigned to the client application." };
      await page.goto(
        `${testServer.baseUrl}/auth/callback?${new URLSearchParams({ ...answer, ...description })}`,
      );
      await page.getByText("User is not assigned").waitFor();
    };
    const title = "Signing in failed";
    const opened = await openConsent();
    await refused(opened, "Approve");
    await opened.page.getByText("In 15 seconds this page takes you back").waitFor();
    await judged("refused", opened, { title, wayOn: "application" });

    const entrance = await newPage();
    await entrance.page.goto(`${testServer.baseUrl}/connections`);
    await refused(entrance, "Sign in");
    await judged("refused-connections", entrance, { title, wayOn: "again" });
  });

  /** With a server of its own, whose sign-ins stop. */
  async function withTestServer(
    options: TestServerOptions,
    story: (of: TestServer) => Promise<void>,
  ): Promise<void> {
    const of = await startTestServer(options);
    await story(of).finally(() => of.close());
  }

  const wrongSecret = { environment: { OIDC_CLIENT_SECRET: "another" } };
  const notSetUp = { title: "Signing in is not set up correctly", wayOn: "application" } as const;

  test("the server's own secret is wrong", async () => {
    await withTestServer(wrongSecret, async (of) => {
      const opened = await openConsent(of);
      await approve(opened.page, /^Alice/);
      await judged("not-set-up", opened, notSetUp, of.log);
    });
  });

  test("the provider is down: the page can be tried again, and leads back", async () => {
    const title = "Signing in is not possible right now";
    await withTestServer({ issuer: `http://localhost:${await freePort()}` }, async (of) => {
      for (const wayOn of ["again", "application"] as const)
        await judged(`provider-down-${wayOn}`, await openConsent(of), { title, wayOn }, of.log);
      const entrance = await newPage();
      await entrance.page.goto(`${of.baseUrl}/connections`);
      await entrance.page.getByRole("button", { name: "Sign in", exact: true }).click();
      await judged("provider-down-connections", entrance, { title, wayOn: "page before" }, of.log);
    });
  });

  test("too many sign-ins: the page can be tried again, and leads back", async () => {
    await withTestServer({ environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "1" } }, async (of) => {
      for (const wayOn of ["again", "application"] as const) {
        const opened = await openConsent(of);
        await opened.page.getByRole("button", { name: "Approve" }).click();
        if (wayOn === "again") {
          await opened.page.getByRole("button", { name: /^Alice/ }).waitFor();
          await opened.page.goBack();
          await opened.page.getByRole("button", { name: "Approve" }).click();
        }
        await judged(`too-many-${wayOn}`, opened, { title: "Too many requests", wayOn }, of.log);
      }
    });
  });

  describe("the way back by itself", { concurrency: true }, () => {
    test("to a program on this computer, which then knows", async () => {
      await withTestServer(wrongSecret, async (of) => {
        const { page, problems } = await openConsent(of);
        await approve(page, /^Alice/);
        await page.getByText("this page takes you back to it").waitFor();
        await page.waitForURL((url) => url.href.startsWith(redirectUri), { timeout: 120_000 });
        const answer = new URL(page.url()).searchParams;
        assert.equal(answer.get("error"), "server_error");
        assert.match(answer.get("error_description") ?? "", /Its operator has to repair that/);
        assert.deepEqual(problems, []);
      });
    });

    test("to an application with a scheme of its own: whatever the browser does, the page and its link stay", async () => {
      await withTestServer(wrongSecret, async (of) => {
        const redirect = "cursor://anysphere.cursor-retrieval/oauth/user-weather/callback";
        const { page, problems } = await openConsent(of, redirect);
        await approve(page, /^Alice/);
        await page.getByText("this page takes you back to it").waitFor();
        const shown = page.url();
        const left = () =>
          page.waitForEvent("requestfailed", {
            predicate: (request) => request.url().startsWith(`${redirect}?error=server_error&`),
            timeout: 120_000,
          });
        // No application has that scheme here, so the browser gives up what it began: by itself, and at the click.
        await left();
        await page.getByText("this page takes you back to it").waitFor();
        await Promise.all([left(), page.getByRole("link", { name: "Back to your application" }).click()]);
        assert.equal(page.url(), shown);
        assert.deepEqual(problems, []);
      });
    });
  });

  /** What no test brings about at will, thrown where the server's own errors are. */
  describe("accidents", () => {
    let server: Server;
    let address: string;
    const log: TestServer["log"] = [];
    const accidents = [
      {
        expected: { title: "Not available right now", wayOn: "again" },
        error: new UnavailableError("storage", { reason: "redis_unavailable" }),
      },
      {
        expected: { title: "Something went wrong here", wayOn: "home" },
        error: new TypeError("nobody foresaw this"),
      },
      {
        expected: { title: "This was ended meanwhile", wayOn: "home" },
        error: new OAuthError("invalid_client", "This application was removed here.", {
          reason: "ended_meanwhile",
          status: 400,
        }),
      },
      {
        expected: { title: "This sign-in belongs to another identity provider", wayOn: "home" },
        error: new OAuthError("invalid_request", "This sign-in was begun with another provider.", {
          reason: "another_provider",
        }),
      },
      {
        expected: { title: "You have to sign in anew", wayOn: "home" },
        error: new OAuthError("unmet_authentication_requirements", "The sign-in was too long ago.", {
          reason: "authentication_too_old",
        }),
      },
      {
        expected: { title: "A stronger sign-in is needed", wayOn: "home" },
        error: new OAuthError(
          "unmet_authentication_requirements",
          "The sign-in has not the acr that was asked for.",
          {
            reason: "authentication_too_weak",
          },
        ),
      },
      {
        expected: { title: "The sign-in could not be finished", wayOn: "again" },
        error: new UnavailableError("storage", { reason: "session_not_stored" }),
      },
      {
        expected: { title: "Not everything has ended yet", wayOn: "again" },
        error: new UnavailableError("storage", { reason: "ending_unfinished" }),
      },
    ] satisfies Array<{ expected: Expected; error: Error }>;
    before(async () => {
      const app = express();
      const pages = createPages({ ...testServer.config, homePage: true });
      app.use(pages.headers);
      app.get("/", (_req, res) => void res.send("home"));
      app.get("/connections", (_req, res) => void res.send("connections"));
      app.get("/accidents/:index", (req, res, next) => {
        const requestId = `id-${req.params.index}`;
        res.locals.requestId = requestId;
        res.on("finish", () => log.push({ requestId, reason: res.locals.reason }));
        next(accidents[Number(req.params.index)]?.error);
      });
      server = createServer(app);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      address = `http://localhost:${(server.address() as AddressInfo).port}`;
      app.use(pageErrors(silent, address, { ...pages, homeUrl: `${address}/` }));
    });
    after(() => {
      server.closeAllConnections();
      server.close();
    });

    for (const [index, { expected }] of accidents.entries())
      test(expected.title, () => visit(`accident-${index}`, `${address}/accidents/${index}`, expected, log));
  });

  test("no page was left out", () => {
    assert.deepEqual(
      [...titles].filter((title) => !seen.has(title)),
      [],
    );
  });
});
