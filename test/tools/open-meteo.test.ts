import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";
import { startWeatherStandIn } from "../../dev/demo/fake-weather-api.ts";
import { createOpenMeteo, WeatherError, type WeatherSettings } from "../../src/tools/open-meteo.ts";

const standIn = await startWeatherStandIn({ port: 0 });
after(() => standIn.close());

function weather(settings: Partial<WeatherSettings> = {}) {
  return createOpenMeteo({ ...standIn, timeoutSeconds: 5, source: "stand-in", ...settings });
}

/** A server that is not well; answers its URL. */
async function startFaulty(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

function answering(status: number, body: string): Promise<string> {
  return startFaulty(
    (_req, res) => void res.writeHead(status, { "content-type": "application/json" }).end(body),
  );
}

function isUnavailable(error: unknown): true {
  assert.ok(error instanceof WeatherError);
  assert.equal(error.code, "unavailable");
  assert.equal(error.message, "The weather service cannot be reached. Try again in a minute.");
  assert.ok(error.cause instanceof Error, "the cause is kept for the log");
  return true;
}

describe("the current weather of a city", () => {
  test("comes with words for the weather code", async () => {
    const { observedAt, ...conditions } = await weather().current("berlin", {});
    assert.deepEqual(conditions, {
      city: "Berlin",
      country: "Germany",
      conditions: "overcast",
      temperatureCelsius: 15.6,
      windSpeedKmh: 7.9,
      humidityPercent: 71,
    });
    assert.match(observedAt, /^\d{4}-\d\d-\d\dT\d\d:(00|15|30|45)$/);
  });

  test("works for names with spaces and accents", async () => {
    assert.equal((await weather().current("Sao Paulo", {})).conditions, "thunderstorm");
    assert.equal((await weather().current("New York", {})).country, "United States");
  });

  test("leaves out what the service does not know", async () => {
    const forecastUrl = await answering(
      200,
      '{"current":{"time":"2026-11-21T09:15","temperature_2m":1,"weather_code":42,"wind_speed_10m":null}}',
    );
    const geocodingUrl = await answering(200, '{"results":[{"name":"Nowhere","latitude":0,"longitude":0}]}');
    assert.deepEqual(await weather({ geocodingUrl, forecastUrl }).current("Nowhere", {}), {
      city: "Nowhere",
      conditions: "unknown conditions",
      temperatureCelsius: 1,
      observedAt: "2026-11-21T09:15",
    });
  });

  test("keeps the query that an endpoint's URL already has", async () => {
    const urls: string[] = [];
    const forecastUrl = `${standIn.forecastUrl}?apikey=abc`;
    const recordingFetch: typeof fetch = (input, init) => {
      urls.push(String(input));
      return fetch(input, init);
    };
    await weather({ forecastUrl, fetch: recordingFetch }).current("Paris", {});
    assert.match(urls[1] ?? "", /\?apikey=abc&latitude=48\.85341&longitude=2\.3488&current=/);
  });

  test("names the city that was not found", async () => {
    for (const nothing of ["12345", "?!", " ", "…", "x"])
      await assert.rejects(weather().current(nothing, {}), {
        name: "WeatherError",
        code: "city_not_found",
        message: `No city named "${nothing}" was found. Check its spelling.`,
      });
  });
});

describe("the stand-in's weather is made up, for every city", () => {
  const cities: [asked: string, named: string][] = [
    ["San Francisco", "San Francisco"],
    ["oslo", "Oslo"],
    ["Zürich", "Zürich"],
    ["東京", "Tokyo"],
    ["São Paulo", "São Paulo"],
    ["  são   paulo ", "São Paulo"],
    ["大阪市", "大阪市"],
    ["津", "津"],
    ["القاهرة", "Cairo"],
    ["الإسكندرية", "الإسكندرية"],
    ["l'aquila", "L'aquila"],
    ["Llanfairpwllgwyngyll", "Llanfairpwllgwyngyll"],
  ];
  for (const [asked, named] of cities)
    test(`${JSON.stringify(asked)} is ${named}`, async () => {
      const { city, conditions, temperatureCelsius, humidityPercent, windSpeedKmh } = await weather().current(
        asked,
        {},
      );
      assert.equal(city, named);
      assert.notEqual(conditions, "unknown conditions");
      assert.ok(temperatureCelsius > -40 && temperatureCelsius < 45, `${temperatureCelsius} °C`);
      assert.ok(humidityPercent !== undefined && humidityPercent >= 0 && humidityPercent <= 100);
      assert.ok(windSpeedKmh !== undefined && windSpeedKmh >= 0);
    });

  test("it is the same all day, however the city is written, and another one the next", async () => {
    let now = Date.UTC(2026, 10, 21, 0, 1);
    const service = await startWeatherStandIn({ port: 0, now: () => now });
    after(() => service.close());
    const at = async (city: string) => {
      const { observedAt: _, city: __, ...conditions } = await weather({ ...service }).current(city, {});
      return conditions;
    };
    const morning = await at("Zürich");
    now += 23.5 * 3_600_000;
    assert.deepEqual(await at("ZURICH"), morning);
    now += 3_600_000;
    assert.notDeepEqual(await at("Zürich"), morning);
    assert.notDeepEqual(await at("Oslo"), await at("San Francisco"));
  });
});

describe("a weather service that fails is unavailable", () => {
  const faults: [name: string, url: () => Promise<string>][] = [
    ["an error status", () => answering(502, "<html>secret upstream text</html>")],
    ["its own error format", () => answering(400, '{"error":true,"reason":"secret upstream text"}')],
    ["a success status other than 200", () => answering(202, "{}")],
    ["something that is not JSON", () => answering(200, "secret upstream text")],
    ["JSON of another shape", () => answering(200, '{"results":"none","current":[]}')],
    ["a connection cut off", () => startFaulty((req) => void req.socket.destroy())],
  ];
  for (const [name, url] of faults) {
    test(`${name}, from either endpoint`, async () => {
      const faulty = await url();
      await assert.rejects(weather({ geocodingUrl: faulty }).current("Berlin", {}), isUnavailable);
      await assert.rejects(weather({ forecastUrl: faulty }).current("Berlin", {}), isUnavailable);
    });
  }

  test("nobody listening", async () => {
    await assert.rejects(
      weather({ forecastUrl: "http://127.0.0.1:1/" }).current("Berlin", {}),
      isUnavailable,
    );
  });

  test("no answer in time", async () => {
    const forecastUrl = await startFaulty(() => {});
    await assert.rejects(weather({ forecastUrl, timeoutSeconds: 0.1 }).current("Berlin", {}), isUnavailable);
  });

  test("an answer whose body stalls", async () => {
    const forecastUrl = await startFaulty((_req, res) => void res.write('{"current":'));
    await assert.rejects(weather({ forecastUrl, timeoutSeconds: 0.1 }).current("Berlin", {}), isUnavailable);
  });
});

test("the caller's abort stops the request and is thrown as it is", async () => {
  const caller = new AbortController();
  const reason = new Error("the client went away");
  const hungUp = new EventEmitter();
  const forecastUrl = await startFaulty((req) => {
    req.socket.once("close", () => hungUp.emit("close"));
    caller.abort(reason);
  });
  const closed = once(hungUp, "close");
  await assert.rejects(weather({ forecastUrl }).current("Berlin", { signal: caller.signal }), reason);
  await closed;
});

describe("the stand-in speaks Open-Meteo's wire format", () => {
  async function get(url: string) {
    const response = await fetch(url);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  test("no results for an unknown place", async () => {
    const { status, body } = await get(`${standIn.geocodingUrl}?name=12345`);
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(body), ["generationtime_ms"]);
  });

  test("current values come with their units", async () => {
    const at = "latitude=52.52&longitude=13.41&current=temperature_2m,weather_code";
    const { body } = await get(`${standIn.forecastUrl}?${at}`);
    assert.deepEqual(body.current_units, {
      time: "iso8601",
      interval: "seconds",
      temperature_2m: "°C",
      weather_code: "wmo code",
    });
    assert.deepEqual(Object.keys(body.current as object), [
      "time",
      "interval",
      "temperature_2m",
      "weather_code",
    ]);
    assert.equal(body.timezone, "GMT");
  });

  const refused: [url: string, reason: RegExp][] = [
    [standIn.geocodingUrl, /'name'/],
    [`${standIn.geocodingUrl}?name=Berlin&count=0`, /between 1 and 100/],
    [standIn.forecastUrl, /'latitude'/],
    [`${standIn.forecastUrl}?latitude=1`, /'longitude'/],
    [`${standIn.forecastUrl}?latitude=91&longitude=0`, /-90 to 90/],
    [`${standIn.forecastUrl}?latitude=0&longitude=0&current=smell`, /invalid String value smell/],
  ];
  for (const [url, reason] of refused) {
    test(`400 with a reason: ${reason.source}`, async () => {
      const { status, body } = await get(url);
      assert.equal(status, 400);
      assert.equal(body.error, true);
      assert.match(String(body.reason), reason);
    });
  }
});
