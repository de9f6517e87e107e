/** `npm run demo` with settings of one's own: they are used, or it says that they are not; and its log is for people. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import { startFakeWeatherApi } from "../../dev/demo/fake-weather-api.ts";
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

describe("npm run demo", () => {
  test("with two identity providers, at each of which alice signs in", async () => {
    const demo = await startDemo({}, "--providers", "2");
    assert.match(
      demo.output(),
      /Identity provider {2}http:\/\/localhost:\d+ .*\n +http:\/\/127\.0\.0\.1:\d+ /,
    );
    const client = await register(demo.baseUrl);
    for (const identity_provider of ["staff", "partners"]) {
      const tokens = await signInForTokens(demo.baseUrl, client, { parameters: { identity_provider } });
      const args = { city: "Oslo" };
      const weather = await callTool(`${demo.baseUrl}/mcp`, tokens.access_token, "current_weather", args);
      assert.equal(weather.status, 200, identity_provider);
    }
  });

  test("with another number of them, or a file that describes them, says what may be said", async () => {
    assert.match(await refusal({}, "--providers", "3"), /--providers must be 1 or 2/);
    assert.match(await refusal({ CONFIG_FILE: "x.yaml" }, "--providers", "2"), /CONFIG_FILE of its own/);
  });

  test("settings of one's own are used; those that it has itself are not, and it says so in a line", async () => {
    const demo = await startDemo({
      ACCESS_TOKEN_SECONDS: "30",
      SERVER_NAME: "My trial",
      OIDC_ISSUER: "https://production.example.com",
      REDIS_URL: "redis://production.example.com",
      AUTH0_DOMAIN: "tenant.eu.auth0.com",
      METRICS_TOKEN: "",
    });
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

  test("prints a line for each hop of a sign-in, and nothing else", async () => {
    const demo = await startDemo({});
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

  test("LOG_LEVEL=debug prints every line of the log, as in production", async () => {
    const demo = await startDemo({ LOG_LEVEL: "debug" });
    await register(demo.baseUrl);
    await eventually("a line of JSON", () => /^\{.*"path":"\/register".*\}$/m.test(demo.output()));
  });

  test("WEATHER=real takes the real weather where it can be reached, and otherwise says why not", async () => {
    const real = await startFakeWeatherApi({ port: 0 });
    after(() => real.close());
    const urls = { OPEN_METEO_GEOCODING_URL: real.geocodingUrl, OPEN_METEO_FORECAST_URL: real.forecastUrl };
    const reached = await startDemo({ WEATHER: "real", ...urls });
    const answer = await (await signIn(reached)).weather();
    assert.equal(answer.body.result.structuredContent.source, "Open-Meteo (open-meteo.com)");

    const unreachable = await startDemo({ WEATHER: "real", OPEN_METEO_GEOCODING_URL: "http://127.0.0.1:1/" });
    assert.match(
      unreachable.output(),
      /^The weather service cannot be reached from here \(.+\): the weather is made up\.$/m,
    );
    const made = await (await signIn(unreachable)).weather();
    assert.match(made.body.result.structuredContent.source, /made up/);
  });

  test("tools of one's own come with --tools, and their scopes are known to the identity provider", async () => {
    const { baseUrl } = await startDemo({}, "--tools", "examples/policy/tools.mts");
    const { access_token, scope } = await signInForTokens(baseUrl, await register(baseUrl));
    assert.match(scope, /wiki:read/);
    assert.ok((await toolNames(`${baseUrl}/mcp`, access_token)).includes("read_page"));
  });

  test("what cannot be used is said once, in words", async () => {
    assert.match(
      await refusal({ ACCESS_TOKEN_SECONDS: "soon" }),
      /ACCESS_TOKEN_SECONDS must be a whole number/,
    );
    assert.match(await refusal({ WEATHER: "sunny" }), /WEATHER must be real or made-up/);
    assert.match(await refusal({ PORT: "70000" }), /PORT must be a number/);
  });
});
