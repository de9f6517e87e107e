/**
 * A fake of Open-Meteo's two endpoints, on this computer and in their wire formats, so that the demo and the tests
 * need no network. It answers for every city; all of its weather is made up.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { placeNamed, weatherAt } from "./made-up-weather.ts";

export interface FakeWeatherApi {
  geocodingUrl: string;
  forecastUrl: string;
  close(): Promise<void>;
}

/**
 * @param options.port 0 takes any free port; listens on 127.0.0.1
 * @param options.now milliseconds since the epoch; the weather of a place changes at midnight UTC
 */
export async function startFakeWeatherApi(options: {
  port: number;
  now?: () => number;
}): Promise<FakeWeatherApi> {
  const { now = Date.now } = options;
  const server = createServer((req, res) => {
    const { status, body } = answer(new URL(req.url ?? "/", "http://fake"), now());
    res.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(body));
  });
  server.listen(options.port, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    geocodingUrl: `http://127.0.0.1:${port}/v1/search`,
    forecastUrl: `http://127.0.0.1:${port}/v1/forecast`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

function answer({ pathname, searchParams }: URL, now: number): Answer {
  if (pathname === "/v1/search") return search(searchParams);
  if (pathname === "/v1/forecast") return forecast(searchParams, now);
  return { status: 404, body: { error: true, reason: "Not Found" } };
}

function search(query: URLSearchParams): Answer {
  const name = query.get("name");
  if (name === null) return refuse("Value required for key 'name'.");
  const count = Number(query.get("count") ?? 10);
  if (!(count >= 1 && count <= 100)) return refuse("Parameter count must be between 1 and 100.");
  const place = placeNamed(name);
  // The real API leaves `results` out when there are none.
  const results = place === undefined ? {} : { results: [place] };
  return { status: 200, body: { ...results, generationtime_ms: 0.71 } };
}

function forecast(query: URLSearchParams, now: number): Answer {
  const latitude = coordinate(query.get("latitude"));
  const longitude = coordinate(query.get("longitude"));
  if (latitude === undefined) return refuse("Value of type 'Float' required for key 'latitude'.");
  if (longitude === undefined) return refuse("Value of type 'Float' required for key 'longitude'.");
  if (Math.abs(latitude) > 90) return refuse(`Latitude must be in range of -90 to 90°. Given: ${latitude}.`);
  if (Math.abs(longitude) > 180) {
    return refuse(`Longitude must be in range of -180 to 180°. Given: ${longitude}.`);
  }
  const variables = (query.get("current") ?? "").split(",").filter(Boolean);
  const unknown = variables.find((variable) => !(variable in units));
  if (unknown) {
    return refuse(`Cannot initialize WeatherVariable from invalid String value ${unknown} for key current`);
  }
  const body = {
    latitude,
    longitude,
    generationtime_ms: 0.05,
    utc_offset_seconds: 0,
    timezone: "GMT",
    timezone_abbreviation: "GMT",
    elevation: 38,
  };
  return { status: 200, body: variables.length > 0 ? { ...body, ...currently(variables, body, now) } : body };
}

function currently(variables: string[], at: { latitude: number; longitude: number }, now: number) {
  const weather = weatherAt(at.latitude, at.longitude, now);
  const quarterHour = 15 * 60 * 1000;
  const time = new Date(Math.floor(now / quarterHour) * quarterHour).toISOString().slice(0, 16);
  const pick = (from: Record<string, unknown>) =>
    Object.fromEntries(variables.map((name) => [name, from[name]]));
  return {
    current_units: { time: "iso8601", interval: "seconds", ...pick(units) },
    current: { time, interval: 900, ...pick({ ...weather }) },
  };
}

function refuse(reason: string): Answer {
  return { status: 400, body: { error: true, reason } };
}

function coordinate(text: string | null): number | undefined {
  return text !== null && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
}

const units: Record<string, string> = {
  temperature_2m: "°C",
  relative_humidity_2m: "%",
  weather_code: "wmo code",
  wind_speed_10m: "km/h",
};
