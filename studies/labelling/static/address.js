// The token need not stay in the address bar, on a shared screen or in a screenshot.
if (location.search) history.replaceState(null, "", location.pathname);
