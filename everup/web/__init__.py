"""The dashboard: pages over the same words as the API, browser sessions, and news as it comes. No build step."""
