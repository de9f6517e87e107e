/** `npm run soak`: mixed traffic over two replicas while Redis, the provider and the replicas fail. See docs/soak.md. */
import { skipWithoutRedisServer } from "../support/redis.ts";
import { boundedBy, number } from "./bounds.ts";
import { reportText } from "./report.ts";
import { soak } from "./run.ts";

const MOST_MINUTES = 240;
const MOST_PER_SECOND = 500;
const GRACE_MS = 180_000;

const minutes = Math.min(MOST_MINUTES, Math.max(0.5, number("SOAK_MINUTES", 10)));
const rate = Math.min(MOST_PER_SECOND, Math.max(1, number("SOAK_RATE", 100)));
const provider = process.env.SOAK_PROVIDER === "rotating" ? "rotating" : "static";

const skip = skipWithoutRedisServer();
if (skip) throw new Error(skip);
boundedBy(minutes * 60_000 + GRACE_MS);

const report = await soak({ minutes, rate, provider, say: (line) => console.error(line) });
console.log(`\n${reportText(report)}`);
process.exit(report.ledger.lost.length + report.ledger.total("unexpected") > 0 ? 1 : 0);
