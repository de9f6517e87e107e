/** Whether `npm run test:long` runs this file: with all that takes long, of which `npm test` does a part. */
export const isLong = process.env.TEST_LONG === "true";
