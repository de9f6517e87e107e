/** `npm run demo` with settings of one's own: they are used, or it says that they are not; and its log is for people. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { startFakeWeatherApi } from "../../dev/demo/fake-weather-api.ts";
import { demoPort, demoProviders, wantsRealWeather } from "../../dev/demo/settings.ts";
import { type DemoProcess, endDemos, runDemo, startDemo } from "../support/demo-process.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, getJson, register, signInForTokens, toolNames } from "../support/oauth-client.ts";

after(endDemos);

async function refusal(environment: Record<string, string>, ...args: string[]): Promise<string> {
  const { child, output } = await runDemo(environment, ...args);
  const [code] = await once(child, "close");
  assert.equal(code, 1);
  assert.doesNotMatch(output(), /^\s+at /m);
  return output();
}

async function signIn({ baseUrl }: DemoProcess) {
  const tokens = await signInForTokens(baseUrl, await register(baseUrl));
  return {
    tokens,
    weather: () => callTool(`${baseUrl}/mcp`, tokens.access_token, "current_weather", { city: "Oslo" }),
  };
}

/** What the server behind the demo's says of a call, by way of the URL. */
async function whoIsCalling(url: string, token?: string): Promise<string> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const client = new Client({ name: "test", version: "1" });
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport as never);
  const { structuredContent } = await client.callTool({ name: "who_is_calling" });
  await client.close();
  return JSON.stringify(structuredContent);
}

describe("npm run demo", () => {
  describe("with two identity providers and a server behind it", () => {
    let demo: DemoProcess;
    before(async () => {
      const unreachable = { WEATHER: "real", OPEN_METEO_GEOCODING_URL: "http://127.0.0.1:1/" };
      demo = await startDemo(unreachable, "--providers", "2", "--backend");
    });

    test("alice signs in at each of them; the weather is made up, and it says why", async () => {
      assert.match(
        demo.output(),
        /^The weather service cannot be reached from here \(.+\): the weather is made up\.$/m,
      );
      assert.match(
        demo.output(),
        /Identity provider {2}http:\/\/localhost:\d+ .*\n +http:\/\/127\.0\.0\.1:\d+ /,
      );
      const client = await register(demo.baseUrl);
      for (const identity_provider of ["staff", "partners"]) {
        const scope = "weather:read orders:read";
        const tokens = await signInForTokens(demo.baseUrl, client, {
          parameters: { identity_provider, scope },
        });
        const args = { city: "Oslo" };
        const weather = await callTool(`${demo.baseUrl}/mcp`, tokens.access_token, "current_weather", args);
        assert.match(weather.body.result.structuredContent.source, /made up/, identity_provider);
        const { body } = await callTool(`${demo.baseUrl}/mcp`, tokens.access_token, "my_orders");
        assert.deepEqual(body.result.structuredContent?.orders, ["umbrella"], JSON.stringify(body));
      }
    });

    test("who signed in at either is told to the server behind it, in one file", async () => {
      const client = await register(demo.baseUrl);
      const url = `${demo.baseUrl}/crm/mcp`;
      const { access_token: token } = await signInForTokens(demo.baseUrl, client, {
        parameters: { identity_provider: "partners", resource: url },
      });
      assert.match(await whoIsCalling(url, token), /127\.0\.0\.1:\d+#alice/);
      // It has no sign-in of its own, which is why it is behind one.
      const [, past = ""] = /past this server, at (\S+),/.exec(demo.output()) ?? [];
      assert.doesNotMatch(await whoIsCalling(past), /identity/);
    });
  });

  test("with another number of them, or a file that describes them, says what may be said", async () => {
    const file = { CONFIG_FILE: "x.yaml" };
    assert.throws(() => demoProviders("3", {}), /--providers must be 1 or 2/);
    assert.throws(() => demoProviders("2", file), /CONFIG_FILE of its own/);
    assert.match(await refusal(file, "--backend"), /CONFIG_FILE of its own.*--backend/);
  });

  describe("with settings of one's own", () => {
    let demo: DemoProcess;
    before(async () => {
      demo = await startDemo({
        ACCESS_TOKEN_SECONDS: "30",
        SERVER_NAME: "My trial",
        OIDC_ISSUER: "https://production.example.com",
        REDIS_URL: "redis://production.example.com",
        AUTH0_DOMAIN: "tenant.eu.auth0.com",
        METRICS_TOKEN: "",
      });
    });

    // The first, while it has printed nothing else.
    test("prints a line for each hop of a sign-in, and nothing else", async () => {
      const before = demo.output().length;
      const { weather } = await signIn(demo);
      await weather();
      await eventually("the line of the call", () => demo.output().includes("calls current_weather"));
      const lines = demo.output().slice(before).trim().split("\n").filter(Boolean);
      for (const line of lines) assert.match(line, /^\d\d:\d\d:\d\d {2}\S.* → /, line);
      for (const step of [
        "registers as a client",
        "sends the browser: consent",
        "signed in as alice",
        "exchanges the code",
      ])
        assert.equal(lines.filter((line) => line.includes(step)).length, 1, step);
      assert.ok(lines.length <= 10, lines.join("\n"));
    });

    test("they are used; those that it has itself are not, and it says so in a line", async () => {
      const { tokens, weather } = await signIn(demo);
      assert.equal(tokens.expires_in, 30);
      assert.match(
        demo.output(),
        /^Not used: AUTH0_DOMAIN, OIDC_ISSUER, REDIS_URL\. .*identity provider.*in memory\.$/m,
      );
      assert.doesNotMatch(demo.output(), /Not used:.*(ACCESS_TOKEN_SECONDS|METRICS_TOKEN)/);
      assert.match(demo.output(), /claude mcp add .* my-trial http/);
      const metadata = await getJson(`${demo.baseUrl}/.well-known/oauth-protected-resource/mcp`);
      assert.equal(metadata.resource_name, "My trial");
      const { body } = await weather();
      assert.match(body.result.structuredContent.source, /made up.*not real weather/);
      assert.equal(body.result.structuredContent.country, "Norway");
    });
  });

  test("LOG_LEVEL=debug prints every line of the log, as in production; WEATHER=real takes the real weather", async () => {
    const real = await startFakeWeatherApi({ port: 0 });
    after(() => real.close());
    const demo = await startDemo({
      LOG_LEVEL: "debug",
      WEATHER: "real",
      OPEN_METEO_GEOCODING_URL: real.geocodingUrl,
      OPEN_METEO_FORECAST_URL: real.forecastUrl,
    });
    const answer = await (await signIn(demo)).weather();
    assert.equal(answer.body.result.structuredContent.source, "Open-Meteo (open-meteo.com)");
    await eventually("a line of JSON", () => /^\{.*"path":"\/register".*\}$/m.test(demo.output()));
  });

  test("tools of one's own come with --tools, and their scopes are known to the identity provider", async () => {
    const { baseUrl, output } = await startDemo({}, "--tools", "examples/policy/tools.mts");
    assert.doesNotMatch(output(), /--exchange/, "the tools that it needs are not there");
    const { access_token, scope } = await signInForTokens(baseUrl, await register(baseUrl));
    assert.match(scope, /wiki:read/);
    assert.ok((await toolNames(`${baseUrl}/mcp`, access_token)).includes("read_page"));
  });

  test("what cannot be used is said once, in words", async () => {
    assert.match(
      await refusal({ ACCESS_TOKEN_SECONDS: "soon" }),
      /ACCESS_TOKEN_SECONDS must be a whole number/,
    );
    assert.throws(() => wantsRealWeather({ WEATHER: "sunny" }), /WEATHER must be real or made-up/);
    assert.throws(() => demoPort({ PORT: "70000" }), /PORT must be a number/);
  });
});
