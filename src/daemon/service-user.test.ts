import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { findRights, findServiceUser, SERVICE_USER_PATTERN } from "./service-user.ts";

describe("the user that the daemon becomes", () => {
	const folder = mkdtempSync(join(tmpdir(), "shale-user-unit-"));
	const passwd = join(folder, "passwd");
	writeFileSync(passwd, "root:x:0:0::/:/bin/sh\nshale:x:990:991::/:/bin/false\nadmin:x:1000:0::/:/bin/sh\n");
	after(() => rmSync(folder, { recursive: true }));

	it("is named by a name or a number, with its group of the passwd file or one that is given", async () => {
		assert.deepEqual(await findServiceUser("shale", passwd), { uid: 990, gid: 991 });
		assert.deepEqual(await findServiceUser("990", passwd), { uid: 990, gid: 991 });
		assert.deepEqual(await findServiceUser("shale:5", passwd), { uid: 990, gid: 5 });
		assert.deepEqual(await findServiceUser("4321", passwd), { uid: 4321, gid: 4321 });
	});

	it("is never root, nor of root's group", async () => {
		for (const text of ["root", "0", "0:5", "5:0", "shale:0", "admin"]) {
			await assert.rejects(findServiceUser(text, passwd), {
				code: "invalid_argument",
				message: /root's rights/,
			});
		}
		await assert.rejects(findServiceUser("nobody-there", passwd), { code: "invalid_argument" });
	});

	it("is written as one of these", () => {
		for (const text of ["shale", "_shale", "a.b-c", "1000", "1000:1000", "shale:1000"]) {
			assert.match(text, SERVICE_USER_PATTERN);
		}
		for (const text of ["", "-1", "shale:", ":5", "a b", "shale:wheel", "../x", "1000:1000:1000"]) {
			assert.doesNotMatch(text, SERVICE_USER_PATTERN);
		}
	});

	it("is not reached as long as any right is left over", () => {
		const user = { uid: 990, gid: 991 };
		const none = "0000000000000000";
		const status = (over: Readonly<Record<string, string>> = {}) =>
			Object.entries({
				Uid: "990\t990\t990\t990",
				Gid: "991\t991\t991\t991",
				Groups: " ",
				...{ CapInh: none, CapPrm: none, CapEff: none, CapBnd: "000001ffffffffff", CapAmb: none },
				...over,
			})
				.map(([name, value]) => `${name}:\t${value}\n`)
				.join("");
		assert.equal(findRights(status(), user), undefined);
		assert.match(findRights(status({ Uid: "990\t990\t0\t990" }), user) ?? "", /^Uid/);
		assert.match(findRights(status({ Gid: "991\t991\t991\t0" }), user) ?? "", /^Gid/);
		assert.match(findRights(status({ Groups: "0 " }), user) ?? "", /^Groups/);
		assert.match(findRights(status({ CapPrm: "0000000000000001" }), user) ?? "", /^CapPrm/);
	});
});
