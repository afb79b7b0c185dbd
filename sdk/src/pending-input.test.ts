import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { PendingInput } from "./pending-input.ts";

/** A connection that notes what it was given. */
class Sink {
	text = "";
	ends = 0;

	send(bytes: Uint8Array): void {
		this.text += Buffer.from(bytes).toString();
	}

	end(): void {
		this.ends++;
	}
}

function bytes(text: string): Uint8Array {
	return Buffer.from(text);
}

test("after a lost connection the rest is sent from where the program got to", async () => {
	const input = new PendingInput();
	const [first, second] = [new Sink(), new Sink()];
	input.resume(first, 0);
	await input.write(bytes("0123456789"));
	input.suspend();
	await input.write(bytes("abc"));
	input.close();
	input.resume(second, 4);
	assert.deepEqual([first.text, second.text], ["0123456789", "456789abc"]);
	assert.deepEqual([first.ends, second.ends], [0, 1]);
});

test("what has arrived is not kept", async () => {
	const input = new PendingInput();
	const [first, second] = [new Sink(), new Sink()];
	input.resume(first, 100);
	await input.write(bytes("0123456789"));
	input.acknowledge(106);
	input.resume(second, 106);
	assert.equal(second.text, "6789");
});

test("what was never sent is sent, also when others wrote meanwhile", async () => {
	const input = new PendingInput();
	const [first, second, third] = [new Sink(), new Sink(), new Sink()];
	input.resume(first, 0);
	await input.write(bytes("abc"));
	input.suspend();
	await input.write(bytes("def"));
	input.resume(second, 50);
	assert.equal(second.text, "def");
	input.suspend();
	input.resume(third, 52);
	assert.equal(third.text, "f");
});

test("a writer waits while too much is pending, and no longer than the program lives", async () => {
	const input = new PendingInput();
	input.resume(new Sink(), 0);
	let isDone = false;
	const writing = input.write(new Uint8Array(2_000_000)).then(() => {
		isDone = true;
	});
	await nextTurn();
	assert.equal(isDone, false);
	input.acknowledge(400_000);
	await nextTurn();
	assert.equal(isDone, false);
	input.end();
	await writing;
	await input.write(new Uint8Array(2_000_000));
});

test("the caller's buffer may be used again", async () => {
	const input = new PendingInput();
	const [first, second] = [new Sink(), new Sink()];
	input.resume(first, 0);
	const buffer = Buffer.from("one");
	await input.write(buffer);
	buffer.write("two");
	input.resume(second, 0);
	assert.equal(second.text, "one");
});
