/** `npm run soak:company`: an hour of a company's people, compressed into minutes. See docs/soak.md. */
import { skipWithoutRedisServer } from "../../support/redis.ts";
import { boundedBy, number } from "../bounds.ts";
import { reportText } from "./report.ts";
import { companyHour } from "./run.ts";

const MOST_PEOPLE = 1_000_000;
const MOST_MINUTES = 240;
const GRACE_MS = 900_000;

const skip = skipWithoutRedisServer();
if (skip) throw new Error(skip);
const people = Math.min(MOST_PEOPLE, Math.max(100, number("SOAK_PEOPLE", 50_000)));
const minutes = Math.min(MOST_MINUTES, Math.max(0.2, number("SOAK_MINUTES", 10)));
boundedBy(minutes * 60_000 + GRACE_MS);

const report = await companyHour({ people, minutes, say: (line) => console.error(line) });
console.log(`\n${reportText(report)}`);
process.exit(report.ledger.lost.length + report.ledger.total("unexpected") > 0 ? 1 : 0);
