/** What is taken out of, and put into, a freshly installed Debian tree before it becomes a layer. */
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Traces of the host and of the moment of the build, locks, backups: none may be in a layer. */
const REMOVED = [
	"etc/.pwd.lock",
	"etc/group-",
	"etc/gshadow-",
	"etc/passwd-",
	"etc/shadow-",
	"etc/subgid-",
	"etc/subuid-",
	"etc/machine-id",
	"var/lib/dbus/machine-id",
	"etc/apt/apt.conf.d/99mmdebstrap",
	"etc/apt/sources.list",
	"etc/dpkg/dpkg.cfg.d/99mmdebstrap",
	// These call `id` and `mesg` in every login shell.
	"etc/skel/.bashrc",
	"etc/skel/.profile",
	"etc/skel/.bash_logout",
	"root/.bashrc",
	"root/.profile",
	"var/cache/apt",
	"var/cache/debconf/config.dat-old",
	"var/cache/debconf/templates.dat-old",
	"var/cache/ldconfig/aux-cache",
	"var/lib/dpkg/lock",
	"var/lib/dpkg/lock-frontend",
	"var/lib/dpkg/status-old",
	"var/lib/dpkg/available-old",
	"var/lib/dpkg/triggers/Lock",
];

/** Folders that stay, empty. */
const EMPTIED = [
	"dev",
	"etc/apt/sources.list.d",
	"proc",
	"run",
	"sys",
	"tmp",
	"var/lib/apt/lists",
	"var/log",
	"var/tmp",
];

/** apt and dpkg work only when these are there. */
const MADE = ["var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log/apt"];

const WRITTEN: readonly (readonly [path: string, content: string])[] = [
	["etc/hostname", "sandbox\n"],
	["etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"],
	["etc/resolv.conf", ""],
	// Debian's runs `id` and every file of profile.d: a hundred times the cost of this one, for each login shell.
	["etc/profile", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\n"],
];

/** A user for programs that shall not run as root: uid and gid 1000. */
const USER = "sandbox";
const USER_LINES: readonly (readonly [path: string, line: string])[] = [
	["etc/passwd", `${USER}:x:1000:1000::/home/${USER}:/bin/bash`],
	["etc/group", `${USER}:x:1000:`],
	["etc/shadow", `${USER}:*::0:99999:7:::`],
	["etc/gshadow", `${USER}:!::`],
];

export async function tidyDebianTree(hostFolder: string): Promise<void> {
	for (const path of REMOVED) await rm(join(hostFolder, path), { recursive: true, force: true });
	for (const path of EMPTIED) await emptyFolder(join(hostFolder, path));
	for (const path of MADE) await mkdir(join(hostFolder, path), { recursive: true, mode: 0o755 });
	for (const [path, content] of WRITTEN) await replaceFile(join(hostFolder, path), content);
	await forgetPasswordDates(join(hostFolder, "etc/shadow"));
	for (const [path, line] of USER_LINES) await appendLine(join(hostFolder, path), line);
	await makeHome(join(hostFolder, "home", USER));
}

async function emptyFolder(hostPath: string): Promise<void> {
	await mkdir(hostPath, { recursive: true });
	for (const name of await readdir(hostPath)) await rm(join(hostPath, name), { recursive: true });
}

/** Never through a symbolic link: packages make some of these files links, which would lead into the host. */
async function replaceFile(hostPath: string, content: string): Promise<void> {
	await rm(hostPath, { force: true });
	await writeFile(hostPath, content, { flag: "wx" });
	await chmod(hostPath, 0o644);
}

/** The third field is the day on which the password was set, which is the day of the build. */
async function forgetPasswordDates(hostPath: string): Promise<void> {
	const lines = (await readFile(hostPath, "utf8")).split("\n");
	await writeFile(hostPath, lines.map((line) => line.replace(/^([^:]*:[^:]*:)[^:]*/, "$1")).join("\n"));
}

async function appendLine(hostPath: string, line: string): Promise<void> {
	await writeFile(hostPath, `${line}\n`, { flag: "a" });
}

async function makeHome(hostPath: string): Promise<void> {
	await mkdir(hostPath, { recursive: true });
	await chmod(hostPath, 0o755);
	await chown(hostPath, 1000, 1000);
}
