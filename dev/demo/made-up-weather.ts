/**
 * Places and weather for the demo. A few cities have one weather for ever, so that examples and tests can name it; some are
 * where they are, and as warm as that makes likely; every other name is a place as well. What is not known is made of a
 * hash: the same for everybody, all day. Pure.
 */
import { createHash } from "node:crypto";

/** As Open-Meteo's geocoding names its fields. */
export interface MadeUpPlace {
  id: number;
  name: string;
  latitude: number;
  longitude: number;
  country?: string;
  country_code?: string;
}

/** As Open-Meteo's forecast names its fields. */
export interface MadeUpWeather {
  temperature_2m: number;
  relative_humidity_2m: number;
  weather_code: number;
  wind_speed_10m: number;
}

/** @returns undefined for what cannot be a name: without any letter, or of one letter alone in a script of letters */
export function placeNamed(name: string): MadeUpPlace | undefined {
  const spelled = name.normalize("NFC").trim().replaceAll(/\s+/gu, " ");
  const folded = fold(spelled);
  if (!/\p{L}/u.test(folded) || /^\p{Script=Latin}$/u.test(folded)) return undefined;
  const known = CITIES.find(({ place, alias = place.name }) =>
    [place.name, alias].map(fold).includes(folded),
  );
  if (known !== undefined) return known.place;
  const chance = chances(`place ${folded}`);
  return {
    id: idOf(name),
    name: capitalized(spelled),
    // Where people live: few beyond these.
    latitude: rounded(-38 + chance(0) * 98, 5),
    longitude: rounded(-179 + chance(1) * 358, 5),
  };
}

/** @param now milliseconds since the epoch */
export function weatherAt(latitude: number, longitude: number, now: number): MadeUpWeather {
  const known = CITIES.find(({ place }) => isNear(place, latitude, longitude));
  if (known?.weather !== undefined) return known.weather;
  const day = Math.floor(now / DAY_MS);
  const chance = chances(`weather ${latitude.toFixed(2)} ${longitude.toFixed(2)} ${day}`);
  const temperature = usualTemperature(latitude, day) + (chance(0) - 0.5) * 10;
  const sky = temperature < 1 ? COLD_SKIES : SKIES;
  return {
    temperature_2m: rounded(temperature, 1),
    relative_humidity_2m: Math.round(35 + chance(1) * 60),
    weather_code: sky[Math.floor(chance(2) * sky.length)] ?? 0,
    wind_speed_10m: rounded(2 + chance(3) * 26, 1),
  };
}

const DAY_MS = 86_400_000;

/** Of the WMO: clear, cloudy, fog, drizzle, rain, showers, thunderstorm; below zero snow takes the place of rain. */
const SKIES = [0, 0, 1, 2, 2, 3, 3, 45, 51, 61, 63, 80, 95];
const COLD_SKIES = [0, 1, 2, 3, 3, 45, 71, 73, 85];

/** Cooler towards the poles, and there with a summer and a winter. */
function usualTemperature(latitude: number, day: number): number {
  const distance = Math.abs(latitude);
  const year = (day / 365.25) % 1;
  const northernSummer = -Math.cos(2 * Math.PI * (year - 0.05));
  return 29 - distance * 0.45 + Math.sign(latitude) * northernSummer * distance * 0.22;
}

/** Numbers from 0 to 1, always the same of one text. */
function chances(text: string): (index: 0 | 1 | 2 | 3) => number {
  const hash = createHash("sha256").update(text).digest();
  return (index) => hash.readUInt32BE(index * 4) / 2 ** 32;
}

function fold(name: string): string {
  return name.normalize("NFD").replaceAll(/\p{M}/gu, "").trim().toLowerCase();
}

/** "oslo" is Oslo; what has capitals already is as its reader writes it. */
function capitalized(name: string): string {
  return name === name.toLowerCase()
    ? name.replaceAll(/(?<![\p{L}\p{M}'’])\p{L}/gu, (letter) => letter.toUpperCase())
    : name;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function isNear(place: MadeUpPlace, latitude: number, longitude: number): boolean {
  return Math.hypot(place.latitude - latitude, place.longitude - longitude) < 0.25;
}

interface City {
  place: MadeUpPlace;
  /** Always this one. */
  weather?: MadeUpWeather;
  /** What its own people write, where that is another word. */
  alias?: string;
}

type Conditions = [celsius: number, humidity: number, weatherCode: number, windSpeed: number];

const CITIES: readonly City[] = [
  city("Berlin", 52.524, 13.411, "Germany", "DE", { always: [15.6, 71, 3, 7.9] }),
  city("London", 51.509, -0.126, "United Kingdom", "GB", { always: [13.2, 84, 61, 18.4] }),
  city("Paris", 48.85341, 2.3488, "France", "FR", { always: [18.1, 62, 2, 10.1] }),
  city("New York", 40.714, -74.006, "United States", "US", { always: [22.4, 55, 0, 14.8] }),
  city("Tokyo", 35.69, 139.692, "Japan", "JP", { always: [26.8, 78, 80, 9.2], alias: "東京" }),
  city("Nairobi", -1.283, 36.817, "Kenya", "KE", { always: [20.3, 66, 1, 11.6] }),
  city("Sydney", -33.868, 151.207, "Australia", "AU", { always: [17.5, 49, 0, 21.3] }),
  city("São Paulo", -23.548, -46.636, "Brazil", "BR", { always: [24.9, 73, 95, 6.5] }),
  city("Amsterdam", 52.374, 4.89, "Netherlands", "NL"),
  city("Beijing", 39.907, 116.397, "China", "CN", { alias: "北京" }),
  city("Cairo", 30.063, 31.25, "Egypt", "EG", { alias: "القاهرة" }),
  city("Chicago", 41.85, -87.65, "United States", "US"),
  city("Los Angeles", 34.052, -118.244, "United States", "US"),
  city("Madrid", 40.417, -3.703, "Spain", "ES"),
  city("Mexico City", 19.428, -99.128, "Mexico", "MX"),
  city("Mumbai", 19.073, 72.883, "India", "IN"),
  city("Oslo", 59.913, 10.746, "Norway", "NO"),
  city("Rome", 41.892, 12.511, "Italy", "IT"),
  city("San Francisco", 37.775, -122.419, "United States", "US"),
  city("Seoul", 37.566, 126.978, "South Korea", "KR", { alias: "서울" }),
  city("Singapore", 1.29, 103.85, "Singapore", "SG"),
  city("Toronto", 43.706, -79.399, "Canada", "CA"),
  city("Vienna", 48.208, 16.372, "Austria", "AT", { alias: "Wien" }),
  city("Zürich", 47.367, 8.55, "Switzerland", "CH"),
];

function city(
  name: string,
  latitude: number,
  longitude: number,
  country: string,
  country_code: string,
  { always, alias }: { always?: Conditions; alias?: string } = {},
): City {
  const place = { id: idOf(name), name, latitude, longitude, country, country_code };
  return { place, ...(always && { weather: weatherOf(always) }), ...(alias !== undefined && { alias }) };
}

function weatherOf([
  temperature_2m,
  relative_humidity_2m,
  weather_code,
  wind_speed_10m,
]: Conditions): MadeUpWeather {
  return { temperature_2m, relative_humidity_2m, weather_code, wind_speed_10m };
}

function idOf(name: string): number {
  return 1_000_000 + Math.floor(chances(`id ${fold(name)}`)(0) * 8_000_000);
}
