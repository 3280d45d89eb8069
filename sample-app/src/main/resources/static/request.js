// Requests of the pages.

/** Sends JSON and returns what comes back; a refusal becomes an error with the server's own words. */
export async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json, application/problem+json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.detail || `The server answered ${response.status}.`);
  }
  return answer;
}
