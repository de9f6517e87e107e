/**
 * The weather service behind the weather tools: Open-Meteo, which needs no key. A city's name becomes a
 * place, a place becomes the current conditions.
 */
import { z } from "zod";
import { toolSettings } from "../mcp/authoring/tool-settings.ts";

export interface WeatherSettings {
  geocodingUrl: string;
  forecastUrl: string;
  /** For the whole answer, both requests together. */
  timeoutSeconds: number;
  /** What every answer names as the source of its data. */
  source: string;
  fetch?: typeof fetch;
}

/** @throws Error that names every setting to fix */
export function weatherSettings(environment?: Record<string, string | undefined>): WeatherSettings {
  const url = z.url({ protocol: /^https?$/, error: "it must be an http(s) URL" });
  const seconds = z.coerce.number({ error: "it must be a number of seconds" });
  const settings = toolSettings(
    z.object({
      OPEN_METEO_GEOCODING_URL: url.default("https://geocoding-api.open-meteo.com/v1/search"),
      OPEN_METEO_FORECAST_URL: url.default("https://api.open-meteo.com/v1/forecast"),
      OPEN_METEO_TIMEOUT_SECONDS: seconds.int().min(1).max(60).default(10),
      OPEN_METEO_SOURCE: z.string().default("Open-Meteo (open-meteo.com)"),
    }),
    environment,
  );
  return {
    geocodingUrl: settings.OPEN_METEO_GEOCODING_URL,
    forecastUrl: settings.OPEN_METEO_FORECAST_URL,
    timeoutSeconds: settings.OPEN_METEO_TIMEOUT_SECONDS,
    source: settings.OPEN_METEO_SOURCE,
  };
}

export interface CurrentConditions {
  /** As Open-Meteo spells it, which may differ from what was asked. */
  city: string;
  country?: string;
  /** In words, such as `light rain`. */
  conditions: string;
  temperatureCelsius: number;
  windSpeedKmh?: number;
  humidityPercent?: number;
  /** As Open-Meteo gives it: UTC, to the minute, such as `2026-11-21T09:15`. */
  observedAt: string;
}

/** Its message is fit for a person; what the service said is in `cause` only. */
export class WeatherError extends Error {
  override readonly name = "WeatherError";
  readonly code: "city_not_found" | "unavailable";

  constructor(code: WeatherError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface OpenMeteo {
  readonly source: string;
  /**
   * @throws {WeatherError} `city_not_found`, or `unavailable` for anything that went wrong on the way.
   * The caller's own abort is thrown as it is.
   */
  current(city: string, options: { signal?: AbortSignal }): Promise<CurrentConditions>;
}

export function createOpenMeteo(settings: WeatherSettings = weatherSettings()): OpenMeteo {
  return {
    source: settings.source,
    async current(city, { signal: caller }) {
      const timeout = AbortSignal.timeout(settings.timeoutSeconds * 1000);
      const signal = caller ? AbortSignal.any([caller, timeout]) : timeout;
      try {
        const place = await findPlace(settings, city, signal);
        return describe(place, await readForecast(settings, place, signal));
      } catch (error) {
        caller?.throwIfAborted();
        if (error instanceof WeatherError) throw error;
        throw new WeatherError(
          "unavailable",
          "The weather service cannot be reached. Try again in a minute.",
          {
            cause: error,
          },
        );
      }
    },
  };
}

const Places = z.object({
  results: z
    .array(
      z.object({
        name: z.string(),
        country: z.string().optional(),
        latitude: z.number(),
        longitude: z.number(),
      }),
    )
    .optional(),
});
type Place = NonNullable<z.infer<typeof Places>["results"]>[number];

async function findPlace(settings: WeatherSettings, city: string, signal: AbortSignal): Promise<Place> {
  const query = { name: city, count: "1", language: "en", format: "json" };
  const { results } = Places.parse(await getJson(settings, settings.geocodingUrl, query, signal));
  const place = results?.[0];
  if (!place) {
    throw new WeatherError("city_not_found", `No city named "${city}" was found. Check its spelling.`);
  }
  return place;
}

const Forecast = z.object({
  current: z.object({
    time: z.string(),
    temperature_2m: z.number(),
    weather_code: z.number(),
    relative_humidity_2m: z.number().nullish(),
    wind_speed_10m: z.number().nullish(),
  }),
});
type Forecast = z.infer<typeof Forecast>;

async function readForecast(settings: WeatherSettings, place: Place, signal: AbortSignal): Promise<Forecast> {
  const query = {
    latitude: String(place.latitude),
    longitude: String(place.longitude),
    current: "temperature_2m,relative_humidity_2m,weather_code,wind_speed_10m",
  };
  return Forecast.parse(await getJson(settings, settings.forecastUrl, query, signal));
}

function describe(place: Place, { current }: Forecast): CurrentConditions {
  return {
    city: place.name,
    ...(place.country !== undefined && { country: place.country }),
    conditions: conditionsByWeatherCode[current.weather_code] ?? "unknown conditions",
    temperatureCelsius: current.temperature_2m,
    ...(current.wind_speed_10m != null && { windSpeedKmh: current.wind_speed_10m }),
    ...(current.relative_humidity_2m != null && { humidityPercent: current.relative_humidity_2m }),
    observedAt: current.time,
  };
}

async function getJson(
  settings: WeatherSettings,
  endpoint: string,
  query: Record<string, string>,
  signal: AbortSignal,
): Promise<unknown> {
  const url = new URL(endpoint);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const response = await (settings.fetch ?? fetch)(url, { signal, headers: { accept: "application/json" } });
  if (response.status !== 200) throw new Error(`${url.origin}${url.pathname} answered ${response.status}`);
  return response.json();
}

/** WMO code table 4677 as far as Open-Meteo uses it. */
const conditionsByWeatherCode: Record<number, string> = {
  0: "clear sky",
  1: "mainly clear",
  2: "partly cloudy",
  3: "overcast",
  45: "fog",
  48: "fog with rime",
  51: "light drizzle",
  53: "drizzle",
  55: "dense drizzle",
  56: "light freezing drizzle",
  57: "dense freezing drizzle",
  61: "light rain",
  63: "rain",
  65: "heavy rain",
  66: "light freezing rain",
  67: "heavy freezing rain",
  71: "light snow",
  73: "snow",
  75: "heavy snow",
  77: "snow grains",
  80: "light rain showers",
  81: "rain showers",
  82: "violent rain showers",
  85: "light snow showers",
  86: "heavy snow showers",
  95: "thunderstorm",
  96: "thunderstorm with light hail",
  99: "thunderstorm with heavy hail",
};

/** Every word for the conditions, the clearest sky first. */
export const conditionWords: readonly string[] = Object.values(conditionsByWeatherCode);
