"""The leaderboard as a site: static pages of one file each, without a network and without a build step."""
