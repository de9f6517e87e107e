/**
 * A local stand-in for Open-Meteo's two endpoints, in their wire formats, so that the demo and the tests
 * need no network. It knows a few cities and a fixed weather for each.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface WeatherStandIn {
  geocodingUrl: string;
  forecastUrl: string;
  close(): Promise<void>;
}

/** @param options.port 0 takes any free port; listens on 127.0.0.1. */
export async function startWeatherStandIn(options: { port: number }): Promise<WeatherStandIn> {
  const server = createServer((req, res) => {
    const { status, body } = answer(new URL(req.url ?? "/", "http://stand-in"));
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

function answer({ pathname, searchParams }: URL): Answer {
  if (pathname === "/v1/search") return search(searchParams);
  if (pathname === "/v1/forecast") return forecast(searchParams);
  return { status: 404, body: { error: true, reason: "Not Found" } };
}

function search(query: URLSearchParams): Answer {
  const name = query.get("name");
  if (name === null) return refuse("Value required for key 'name'.");
  const count = Number(query.get("count") ?? 10);
  if (!(count >= 1 && count <= 100)) return refuse("Parameter count must be between 1 and 100.");
  const found = cities.filter((city) => fold(city.place.name) === fold(name)).slice(0, count);
  // The real one leaves `results` out when there are none.
  const results = found.length > 0 ? { results: found.map(({ place }) => place) } : {};
  return { status: 200, body: { ...results, generationtime_ms: 0.71 } };
}

function forecast(query: URLSearchParams): Answer {
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
    elevation: nearest(latitude, longitude).place.elevation,
  };
  return { status: 200, body: variables.length > 0 ? { ...body, ...currently(variables, body) } : body };
}

function currently(variables: string[], at: { latitude: number; longitude: number }) {
  const { weather } = nearest(at.latitude, at.longitude);
  const quarterHour = 15 * 60 * 1000;
  const time = new Date(Math.floor(Date.now() / quarterHour) * quarterHour).toISOString().slice(0, 16);
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

function fold(name: string): string {
  return name.normalize("NFD").replaceAll(/\p{M}/gu, "").trim().toLowerCase();
}

function nearest(latitude: number, longitude: number): City {
  const distance = ({ place }: City) => Math.hypot(place.latitude - latitude, place.longitude - longitude);
  return cities.reduce((best, city) => (distance(city) < distance(best) ? city : best));
}

const units: Record<string, string> = {
  temperature_2m: "°C",
  relative_humidity_2m: "%",
  weather_code: "wmo code",
  wind_speed_10m: "km/h",
};

type City = ReturnType<typeof city>;

function city(
  place: { id: number; name: string; latitude: number; longitude: number; elevation: number },
  region: { country_code: string; timezone: string; population: number; country: string; admin1: string },
  [temperature_2m, relative_humidity_2m, weather_code, wind_speed_10m]: [number, number, number, number],
) {
  return {
    place: { ...place, feature_code: "PPLC", ...region },
    weather: { temperature_2m, relative_humidity_2m, weather_code, wind_speed_10m },
  };
}

const cities = [
  city(
    { id: 2950159, name: "Berlin", latitude: 52.52437, longitude: 13.41053, elevation: 74 },
    {
      country_code: "DE",
      timezone: "Europe/Berlin",
      population: 3426354,
      country: "Germany",
      admin1: "Land Berlin",
    },
    [15.6, 71, 3, 7.9],
  ),
  city(
    { id: 2643743, name: "London", latitude: 51.50853, longitude: -0.12574, elevation: 25 },
    {
      country_code: "GB",
      timezone: "Europe/London",
      population: 8961989,
      country: "United Kingdom",
      admin1: "England",
    },
    [13.2, 84, 61, 18.4],
  ),
  city(
    { id: 2988507, name: "Paris", latitude: 48.85341, longitude: 2.3488, elevation: 42 },
    {
      country_code: "FR",
      timezone: "Europe/Paris",
      population: 2138551,
      country: "France",
      admin1: "Île-de-France",
    },
    [18.1, 62, 2, 10.1],
  ),
  city(
    { id: 5128581, name: "New York", latitude: 40.71427, longitude: -74.00597, elevation: 10 },
    {
      country_code: "US",
      timezone: "America/New_York",
      population: 8804190,
      country: "United States",
      admin1: "New York",
    },
    [22.4, 55, 0, 14.8],
  ),
  city(
    { id: 1850147, name: "Tokyo", latitude: 35.6895, longitude: 139.69171, elevation: 44 },
    { country_code: "JP", timezone: "Asia/Tokyo", population: 9733276, country: "Japan", admin1: "Tokyo" },
    [26.8, 78, 80, 9.2],
  ),
  city(
    { id: 184745, name: "Nairobi", latitude: -1.28333, longitude: 36.81667, elevation: 1684 },
    {
      country_code: "KE",
      timezone: "Africa/Nairobi",
      population: 2750547,
      country: "Kenya",
      admin1: "Nairobi County",
    },
    [20.3, 66, 1, 11.6],
  ),
  city(
    { id: 2147714, name: "Sydney", latitude: -33.86785, longitude: 151.20732, elevation: 58 },
    {
      country_code: "AU",
      timezone: "Australia/Sydney",
      population: 4627345,
      country: "Australia",
      admin1: "New South Wales",
    },
    [17.5, 49, 0, 21.3],
  ),
  city(
    { id: 3448439, name: "São Paulo", latitude: -23.5475, longitude: -46.63611, elevation: 769 },
    {
      country_code: "BR",
      timezone: "America/Sao_Paulo",
      population: 10021295,
      country: "Brazil",
      admin1: "São Paulo",
    },
    [24.9, 73, 95, 6.5],
  ),
];
