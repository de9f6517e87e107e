/** The tools that every subject offers: the same names, input and answer. */

/** `weather_1` is the one that is called. */
export function toolNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `weather_${i + 1}`);
}

export function forecast(city: string): string {
  return `The weather in ${city}: 21 degrees, light wind, no rain before the evening.`;
}
