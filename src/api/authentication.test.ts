import assert from "node:assert/strict";
import { test } from "node:test";
import { createGuard } from "./authentication.ts";

const TOKEN = "0123456789abcdef";
const host = "127.0.0.1:7522";

function headers(given: Partial<Record<"host" | "origin" | "authorization", string>>) {
	return { host, origin: undefined, authorization: undefined, ...given };
}

test("with a token, only who sends it passes", () => {
	const guard = createGuard(TOKEN);
	guard(headers({ authorization: `Bearer ${TOKEN}` }), { open: false });
	guard(headers({ authorization: `bearer ${TOKEN}` }), { open: false });
	for (const authorization of [undefined, "", TOKEN, `Bearer ${TOKEN}x`, "Bearer ", `Basic ${TOKEN}`]) {
		assert.throws(
			() => guard(headers(authorization === undefined ? {} : { authorization }), { open: false }),
			{
				code: "unauthenticated",
			},
		);
	}
});

test("with a token, open routes and any Host pass", () => {
	const guard = createGuard(TOKEN);
	guard(headers({ host: "shale.example" }), { open: true });
	guard(headers({ host: "shale.example", authorization: `Bearer ${TOKEN}` }), { open: false });
});

test("without a token, only loopback names are answered", () => {
	const guard = createGuard(undefined);
	for (const name of ["localhost", "LOCALHOST:7522", "127.0.0.1:80", "127.1.2.3", "[::1]:7522"]) {
		guard(headers({ host: name }), { open: false });
	}
	for (const name of [
		"evil.example",
		"localhost.evil.example",
		"127.0.0.1.evil.example",
		"10.0.0.1",
		"",
		"[::2]",
	]) {
		assert.throws(() => guard(headers({ host: name }), { open: true }), { code: "forbidden" });
	}
});

test("without a token, other web pages are refused, and our own passes", () => {
	const guard = createGuard(undefined);
	guard(headers({ origin: `http://${host}` }), { open: false });
	for (const origin of ["http://evil.example", "null", "http://127.0.0.1:3000", `https://${host}`]) {
		assert.throws(() => guard(headers({ origin }), { open: false }), { code: "forbidden" });
	}
});
