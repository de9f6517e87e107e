/** current_weather: a tool that needs a scope and calls somebody else's API. */
import { z } from "zod";
import { defineTool } from "../mcp/authoring/define-tool.ts";
import { ToolError } from "../mcp/authoring/request-context.ts";
import { getAccessToken } from "../resource/access-token-context.ts";
import { type OpenMeteo, WeatherError } from "./open-meteo.ts";

const CurrentWeather = z.object({
  city: z.string(),
  country: z.string().optional(),
  conditions: z.string(),
  temperatureCelsius: z.number(),
  windSpeedKmh: z.number().optional(),
  humidityPercent: z.number().optional(),
  observedAt: z.string().describe("UTC, ISO 8601"),
  source: z.string(),
  requestedBy: z.string().describe("The signed-in user's subject"),
});

export function currentWeather(weather: OpenMeteo) {
  return defineTool({
    name: "current_weather",
    title: "Current weather",
    description: "Current weather for a city",
    scopes: ["weather:read"],
    annotations: { readOnlyHint: true, openWorldHint: true },
    input: z.strictObject({ city: z.string().min(1).max(100) }),
    output: CurrentWeather,
    async run({ city }, { signal }) {
      const { subject } = getAccessToken();
      try {
        const conditions = await weather.current(city, { signal });
        const { source } = weather;
        return { ...conditions, observedAt: `${conditions.observedAt}Z`, source, requestedBy: subject };
      } catch (error) {
        throw error instanceof WeatherError ? new ToolError(error.message, { cause: error }) : error;
      }
    },
  });
}
